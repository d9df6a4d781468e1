#include "report/prometheus.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <iterator>

namespace isoflop {

namespace {

struct Help {
  std::string_view metric, text;
};
constexpr std::array<Help, 14> kHelp = {{
    {"train/step", "Steps done."},
    {"train/steps_planned", "Steps of the whole run."},
    {"train/loss", "Training loss of the last step in nats per token, before its update."},
    {"train/skipped", "1 when the last step's update was skipped."},
    {"train/left_out", "1 when the last step was left out after a rewind."},
    {"valid/loss", "Validation loss in nats per token."},
    {"valid/bits_per_byte", "Validation loss in bits per byte of text."},
    {"optim/lr", "Learning rate of the last step."},
    {"optim/grad_norm", "Global gradient norm of the last step, before clipping."},
    {"perf/tokens_per_s", "Tokens trained on per second."},
    {"perf/step_ms", "Milliseconds of the last step."},
    {"perf/mfu", "Model FLOPs utilization, from 0 to 1."},
    {"mem/peak_bytes", "Highest resident memory of the process in bytes."},
    {"time/written", "When this file was written, in Unix seconds."},
}};

std::string_view help_of(std::string_view metric) {
  for (const Help& help : kHelp)
    if (help.metric == metric) return help.text;
  return "A metric of the run.";
}

std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  return fmt::format("{}", value);
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string prometheus_name(std::string_view metric) {
  std::string name = "isoflop_";
  for (const char c : metric) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    name += plain ? c : '_';
  }
  return name;
}

std::string prometheus_escaped(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '\n') {
      escaped += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') escaped += '\\';
    escaped += c;
  }
  return escaped;
}

PrometheusFile::PrometheusFile(const fs::path& run, std::string_view name, double interval_s)
    : path_(run / "metrics.prom"),
      labels_(fmt::format("{{run=\"{}\"}}", prometheus_escaped(name))),
      interval_s_(interval_s) {}

bool PrometheusFile::update(int64_t step, int64_t steps, std::span<const Metric> metrics) {
  for (const Metric& metric : metrics)
    if (metric.name.substr(0, 6) == "valid/")
      validation_.insert_or_assign(std::string(metric.name), metric.value);
  const double now = steady_seconds();
  if (last_ >= 0 && now - last_ < interval_s_ && step != steps) return true;
  last_ = now;
  std::string content;
  const auto add = [&](std::string_view metric, double value) {
    const std::string name = prometheus_name(metric);
    fmt::format_to(std::back_inserter(content), "# HELP {0} {1}\n# TYPE {0} gauge\n{0}{2} {3}\n",
                   name, help_of(metric), labels_, number(value));
  };
  add("train/step", static_cast<double>(step));
  add("train/steps_planned", static_cast<double>(steps));
  for (const Metric& metric : metrics)
    if (metric.name.substr(0, 6) != "valid/" && metric.name.substr(0, 6) != "layer/")
      add(metric.name, metric.value);
  for (const auto& [metric, value] : validation_) add(metric, value);
  const std::chrono::duration<double> unix_time =
      std::chrono::system_clock::now().time_since_epoch();
  add("time/written", std::round(unix_time.count()));
  return write(content);
}

bool PrometheusFile::write(const std::string& content) const {
  const fs::path temporary = temporary_name(path_);
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return false;
  const bool whole =
      ::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size());
  ::close(fd);
  if (whole && ::rename(temporary.c_str(), path_.c_str()) == 0) return true;
  ::unlink(temporary.c_str());
  return false;
}

}  // namespace isoflop
