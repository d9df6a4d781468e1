#include "report/progress.hpp"

#include "report/humanize.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace isoflop {

namespace {

struct Field {
  int rank;  // the highest goes first when the terminal is narrow; 0 stays
  std::string text;
};

std::vector<Field> fields_of(const ProgressState& s) {
  std::vector<Field> fields;
  const double percent =
      s.steps > 0 ? 100.0 * static_cast<double>(s.step) / static_cast<double>(s.steps) : 0;
  fields.push_back({0, fmt::format("step {}/{} {:.1f}%", s.step, s.steps, percent)});
  if (!std::isnan(s.loss)) fields.push_back({0, fmt::format("loss {:.3f}", s.loss)});
  if (!std::isnan(s.planned_loss)) {
    std::string plan = fmt::format("(plan {:.2f}", s.planned_loss);
    if (!std::isnan(s.planned_margin)) plan += fmt::format("±{:.2f}", s.planned_margin);
    fields.push_back({5, plan + ")"});
  }
  if (!std::isnan(s.final_loss)) fields.push_back({5, fmt::format("ends at {:.2f}", s.final_loss)});
  if (!std::isnan(s.grad_norm)) fields.push_back({4, fmt::format("gn {:.2f}", s.grad_norm)});
  if (!std::isnan(s.lr)) fields.push_back({3, "lr " + human_rate(s.lr)});
  if (!std::isnan(s.tokens_per_s)) fields.push_back({2, human_count(s.tokens_per_s) + " tok/s"});
  if (!std::isnan(s.memory_bytes)) fields.push_back({7, "mem " + human_bytes(s.memory_bytes)});
  if (!std::isnan(s.eta_seconds)) fields.push_back({1, "eta " + human_duration(s.eta_seconds)});
  if (!std::isnan(s.mfu)) fields.push_back({6, fmt::format("MFU {:.0f}%", 100 * s.mfu)});
  if (!std::isnan(s.hidden))
    fields.push_back({7, fmt::format("comm {:.0f}% hidden", 100 * s.hidden)});
  if (!std::isnan(s.costliest_share))
    fields.push_back({8, fmt::format("{} {:.0f}%", s.costliest, 100 * s.costliest_share)});
  return fields;
}

std::string join(const std::vector<Field>& fields, int highest_rank) {
  std::string line;
  for (const Field& field : fields) {
    if (field.rank > highest_rank) continue;
    if (!line.empty()) line += field.text[0] == '(' ? " " : " | ";  // the plan belongs to the loss
    line += field.text;
  }
  return line;
}

int columns_of(std::string_view text) {
  int columns = 0;
  for (const char c : text) columns += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return columns;
}

int terminal_width(int fd) {
  winsize size = {};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
  return size.ws_col;
}

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

std::string progress_text(const ProgressState& state, int width) {
  const std::vector<Field> fields = fields_of(state);
  int highest = 8;
  std::string line = join(fields, highest);
  while (width > 0 && highest > 0 && columns_of(line) > width) line = join(fields, --highest);
  return line;
}

ProgressLine::ProgressLine(const ProgressOptions& options) : options_(options) {
  const char* kind = std::getenv("TERM");
  terminal_ = ::isatty(options_.fd) == 1 && kind && std::string_view(kind) != "dumb";
}

ProgressLine::~ProgressLine() {
  finish();
}

void ProgressLine::put(const std::string& text) {
  // Losing a progress line (closed pipe, full disk) must not end a run: errors are ignored.
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t wrote = ::write(options_.fd, rest.data(), rest.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return;
    rest.remove_prefix(static_cast<size_t>(wrote));
  }
}

void ProgressLine::update(const ProgressState& state) {
  if (options_.quiet) return;
  const double now = steady_seconds();
  const double interval = terminal_ ? options_.terminal_interval_s : options_.plain_interval_s;
  const bool last = state.step == state.steps;
  if (last_shown_ >= 0 && now - last_shown_ < interval && !last) return;
  last_shown_ = now;
  if (terminal_) {
    // One column stays free: writing the last one makes some terminals wrap.
    shown_ = progress_text(state, terminal_width(options_.fd) - 1);
    put("\r" + shown_ + "\x1b[K");
    open_ = true;
  } else {
    put(progress_text(state) + "\n");
  }
}

void ProgressLine::note(const std::string& text) {
  if (options_.quiet) return;
  if (open_)
    put("\r" + text + "\x1b[K\n" + shown_);
  else
    put(text + "\n");
}

void ProgressLine::finish() {
  if (open_) put("\n");
  open_ = false;
}

}  // namespace isoflop
