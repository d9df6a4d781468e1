#include "report/metrics.hpp"

#include "core/error.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstring>
#include <iterator>

namespace isoflop {

namespace {

constexpr std::array<std::string_view, 2> kMachinePrefixes = {"perf/", "mem/"};
constexpr std::string_view kLineStart = "{\"step\":";

bool depends_on_machine(std::string_view name) {
  for (std::string_view prefix : kMachinePrefixes)
    if (name.substr(0, prefix.size()) == prefix) return true;
  return false;
}

void append_quoted(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out += c;
    }
  }
  out += '"';
}

void append_number(std::string& out, const Metric& metric) {
  out += ',';
  append_quoted(out, metric.name);
  out += ':';
  if (std::isfinite(metric.value))
    fmt::format_to(std::back_inserter(out), "{}", metric.value);
  else
    out += "null";
}

/// The step of a whole line of ours; -1 for anything else.
int64_t step_of(std::string_view line) {
  if (line.substr(0, kLineStart.size()) != kLineStart || line.back() != '}') return -1;
  int64_t step = -1;
  std::from_chars(line.data() + kLineStart.size(), line.data() + line.size(), step);
  return step;
}

}  // namespace

MetricsSink::MetricsSink(const fs::path& run) : path_(run / "metrics.jsonl") {
  open();
}

MetricsSink::~MetricsSink() {
  ::close(fd_);
}

void MetricsSink::open() {
  const int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) fail_user("cannot write {}: {}", path_.string(), std::strerror(errno));
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
  const off_t size = ::lseek(fd_, 0, SEEK_END);
  char last = '\n';
  torn_ = size > 0 && ::pread(fd_, &last, 1, size - 1) == 1 && last != '\n';
}

bool MetricsSink::log(int64_t step,
                      std::span<const Metric> metrics,
                      std::span<const TextMetric> texts) {
  line_.clear();
  if (torn_) line_ += '\n';
  fmt::format_to(std::back_inserter(line_), "{}{}", kLineStart, step);
  for (const Metric& metric : metrics)
    if (!depends_on_machine(metric.name)) append_number(line_, metric);
  for (const TextMetric& text : texts) {
    line_ += ',';
    append_quoted(line_, text.name);
    line_ += ':';
    append_quoted(line_, text.value);
  }
  for (const Metric& metric : metrics)
    if (depends_on_machine(metric.name)) append_number(line_, metric);
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  fmt::format_to(std::back_inserter(line_), ",\"time\":{:.3f}}}\n", now.count());

  ssize_t wrote = 0;
  do {
    wrote = ::write(fd_, line_.data(), line_.size());
  } while (wrote < 0 && errno == EINTR);
  if (wrote == static_cast<ssize_t>(line_.size())) {
    torn_ = false;
    return true;
  }
  if (wrote > 0) torn_ = true;
  return false;
}

void MetricsSink::truncate_after(int64_t step) {
  const std::string content = read_file(path_);
  std::string kept;
  size_t begin = 0;
  for (size_t end; (end = content.find('\n', begin)) != content.npos; begin = end + 1) {
    const std::string_view line = std::string_view(content).substr(begin, end - begin);
    const int64_t at = line.empty() ? -1 : step_of(line);
    if (at >= 0 && at <= step) kept.append(content, begin, end + 1 - begin);
  }
  if (kept.size() != content.size()) write_file_atomically(path_, kept);
  open();
}

std::string deterministic_part(std::string_view line) {
  // Quotes inside values are escaped, so a quote after a comma always opens a name.
  size_t cut = line.find(",\"time\":");
  for (std::string_view prefix : kMachinePrefixes)
    cut = std::min(cut, line.find(fmt::format(",\"{}", prefix)));
  if (cut == line.npos) return std::string(line);
  return std::string(line.substr(0, cut)) + "}";
}

}  // namespace isoflop
