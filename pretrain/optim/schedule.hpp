// Learning rate over a run: linear warm-up, then linear, cosine, wsd or constant.
//
// Steps count from 0; rate(s) is the rate of the update that makes step s + 1. With W = warm-up,
// S = steps, f = final fraction, and t = (s + 1 - W) / (S - W), which is 0 at the end of the
// warm-up and 1 at the last step:
//   warm-up   peak (s + 1) / W                          s < W: never 0, peak at s = W - 1
//   linear    peak (1 - (1 - f) t)
//   cosine    peak (f + (1 - f) (1 + cos(pi t)) / 2)
//   wsd       peak until S - C, then peak (1 - (1 - f) sqrt(u)), u = (s + 1 - (S - C)) / C with C
//   the
//             cooldown's steps (Hagele et al. 2024, "1-sqrt")
//   constant  peak
// So the last step has f peak exactly, save under constant.
#pragma once
#include "pretrain/config/run_config.hpp"

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace isoflop {

struct Schedule {
  enum class Decay { linear, cosine, wsd, constant };
  Decay decay = Decay::linear;
  double peak = 0;
  double final_fraction = 0;
  int64_t steps = 1;
  int64_t warmup = 0;               // steps, < steps
  int64_t cooldown = 0;             // steps, wsd only, <= steps - warmup
  int64_t quantize_after = kNever;  // steps: from then on the weights lie on a file's grid

  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  /// Steps past the end have the last one's rate.
  double rate(int64_t step) const;
  /// Whether the model that has done so many steps lies on the grid (pretrain/weight_grid.hpp).
  bool quantizes(int64_t steps_done) const { return steps_done >= quantize_after; }
};

/// How a warm-up was written; exactly one of the three is used.
struct Warmup {
  double fraction = 0;  // "1%"
  double tokens = 0;    // "375Mtok"
  int64_t steps = 0;    // "1525steps", "1525", "0"
};
/// UserError lists the forms.
Warmup parse_warmup(std::string_view text);

/// For a resolved run of `steps` steps. UserError when the warm-up leaves no step after it.
Schedule make_schedule(const RunConfig& config, int64_t steps);

/// The same where the length is not given in time; `parameters` as planned_steps counts.
Schedule schedule_of(const RunConfig& config, int64_t parameters);

/// The curve in `columns` by `rows` characters with its landmarks, for --dry-run. ASCII, ends in a
/// line break.
std::string draw(const Schedule& schedule, int columns = 64, int rows = 10);

}  // namespace isoflop
