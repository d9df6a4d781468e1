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

}  // namespace

std::map<int64_t, RecordedStep> read_metrics(const fs::path& run, int64_t first, int64_t last) {
  const fs::path path = run / "metrics.jsonl";
  std::ifstream file(path);
  if (!file) fail_user("cannot read {}", path.string());
  std::map<int64_t, RecordedStep> steps;
  for (std::string text; std::getline(file, text);) {
    const Json line = Json::parse(text, nullptr, false);
    if (!line.is_object()) continue;
    const auto step = line.find("step");
    if (step == line.end() || !step->is_number_integer()) continue;
    const auto at = step->get<int64_t>();
    if (at < first || at > last) continue;
    RecordedStep recorded;
    recorded.loss = number(line, "train/loss");
    recorded.grad_norm = number(line, "optim/grad_norm");
    const auto hash = line.find("params/hash");
    if (hash != line.end() && hash->is_string()) recorded.hash = hash->get<std::string>();
    recorded.skipped = line.contains("train/skipped");
    recorded.left_out = line.contains("train/left_out");
    steps[at] = std::move(recorded);
  }
  return steps;
}

}  // namespace isoflop
