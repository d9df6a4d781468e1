// The one line people watch:
//   step 1200/9037 13.3% | loss 3.412 | gn 0.81 | lr 5.4e-3 | 18.4k tok/s | mem 3.1G |
//   eta 1h12m | MFU 81% | comm 93% hidden | matmul_grad_weight 31%
// On a terminal it is rewritten in place and cut to the width (the least telling fields go first);
// elsewhere one plain line every few seconds, and always the last step.
#pragma once
#include <cstdint>
#include <limits>
#include <string>

namespace isoflop {

/// A field that is NaN is not shown.
struct ProgressState {
  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  int64_t step = 0;
  int64_t steps = 0;
  double loss = kUnknown;
  double planned_loss = kUnknown;  // shown as "(plan 3.39±0.05)"
  double planned_margin = kUnknown;
  double final_loss = kUnknown;  // that the run is heading for: "ends at 3.21"
  double grad_norm = kUnknown;
  double lr = kUnknown;
  double tokens_per_s = kUnknown;
  double memory_bytes = kUnknown;
  double eta_seconds = kUnknown;
  double mfu = kUnknown;       // 0..1: share of the machine's measured limit
  double hidden = kUnknown;    // 0..1: of the time that messages take
  const char* costliest = "";  // the operation that most of a step's time goes to
  double costliest_share = kUnknown;
};

/// The text, at most `width` columns (0 = no limit); step and loss stay whatever the width.
std::string progress_text(const ProgressState& state, int width = 0);

struct ProgressOptions {
  int fd = 2;
  bool quiet = false;
  double terminal_interval_s = 0.1;
  double plain_interval_s = 5;
};

class ProgressLine {
 public:
  explicit ProgressLine(const ProgressOptions& options = {});
  ~ProgressLine();  // leaves the cursor on a fresh line
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// Shows `state` unless the last line is younger than the interval. The last step is always
  /// shown.
  void update(const ProgressState& state);
  /// A message of its own above the line (validation loss, a saved checkpoint, a warning).
  void note(const std::string& text);
  /// Ends the line in place, so that other output may follow.
  void finish();

 private:
  void put(const std::string& text);

  ProgressOptions options_;
  bool terminal_ = false;
  bool open_ = false;       // a line without its end is on the terminal
  double last_shown_ = -1;  // seconds of the steady clock
  std::string shown_;
};

}  // namespace isoflop
