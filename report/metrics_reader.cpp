#include "report/metrics_reader.hpp"

#include "core/error.hpp"

#include <nlohmann/json.hpp>

#include <fstream>
#include <limits>

namespace isoflop {

namespace {

using Json = nlohmann::json;

std::optional<double> number(const Json& line, const char* name) {
  const auto found = line.find(name);
  if (found == line.end()) return std::nullopt;
  if (found->is_number()) return found->get<double>();
  return std::numeric_limits<double>::quiet_NaN();
}

/// read(step, object) for every whole line of the file.
template <class Read>
void for_each_line(const fs::path& run, Read&& read) {
  const fs::path path = run / "metrics.jsonl";
  std::ifstream file(path);
  if (!file) fail_user("cannot read {}", path.string());
  for (std::string text; std::getline(file, text);) {
    const Json line = Json::parse(text, nullptr, false);
    if (!line.is_object()) continue;
    const auto step = line.find("step");
    if (step != line.end() && step->is_number_integer()) read(step->get<int64_t>(), line);
  }
}

}  // namespace

std::map<int64_t, RecordedStep> read_metrics(const fs::path& run, int64_t first, int64_t last) {
  std::map<int64_t, RecordedStep> steps;
  for_each_line(run, [&](int64_t step, const Json& line) {
    if (step < first || step > last) return;
    RecordedStep recorded;
    recorded.loss = number(line, "train/loss");
    recorded.grad_norm = number(line, "optim/grad_norm");
    const auto hash = line.find("params/hash");
    if (hash != line.end() && hash->is_string()) recorded.hash = hash->get<std::string>();
    recorded.skipped = line.contains("train/skipped");
    recorded.left_out = line.contains("train/left_out");
    steps[step] = std::move(recorded);
  });
  return steps;
}

std::map<std::string, MetricSeries> read_metric_series(const fs::path& run) {
  std::map<std::string, std::map<int64_t, double>> found;
  for_each_line(run, [&](int64_t step, const Json& line) {
    for (const auto& [name, value] : line.items())
      if (name != "step" && (value.is_number() || value.is_null()))
        found[name][step] = *number(line, name.c_str());
  });
  std::map<std::string, MetricSeries> result;
  for (const auto& [name, values] : found)
    for (const auto& [step, value] : values) {
      result[name].steps.push_back(static_cast<double>(step));
      result[name].values.push_back(value);
    }
  return result;
}

}  // namespace isoflop
