// Guard: whether the update of a step may happen. One place for values that are not finite and for
// jumps of loss or gradient norm.
//
// A jump is a loss or gradient norm more than `threshold` standard deviations above the mean of the
// accepted steps among the last `window`. Step t is judged by steps <= t - 2, so that a device need
// not be waited for. What it decides is a function of the losses and norms so far and of the
// config: killed, resumed or replayed, a run skips the same steps.
//
// After a rewind the steps around the jump are left out: they are not computed, whatever checkpoint
// one goes back to, as long as it lies before them. So the bits do not depend on which one it is.
#pragma once
#include "pretrain/checkpoint/train_state.hpp"
#include "pretrain/config/run_config.hpp"
#include "pretrain/train/train_step.hpp"

#include <cstdint>
#include <string>

namespace isoflop {

/// What happened to a step. left_out: not computed. rewind: it does not count; go back.
enum class Fate { applied, skipped, left_out, rewind };

struct Verdict {
  Fate fate = Fate::applied;
  std::string reason;  // for people, unless applied
};

class Guard {
 public:
  /// Borrows both.
  Guard(const GuardConfig& config, GuardState& state) : config_(config), state_(state) {}

  bool leaves_out(int64_t step) const;
  /// Whether judge() will say `applied` of every step that is finite, and `skipped` of others.
  bool takes_all_finite() const { return config_.spikes == "off"; }
  /// Called once for each computed step, in order; remembers it. Steps count from 1. DivergedError
  /// when too many in a row were skipped.
  Verdict judge(int64_t step, const StepResult& result);

  /// The last step whose checkpoint a rewind from `step` may go back to.
  int64_t last_good_step(int64_t step) const;
  /// To be called on the state of the checkpoint gone back to: `before` is the state until then.
  /// DivergedError when it was one too many.
  void rewind(int64_t step, const GuardState& before);

 private:
  std::string jump(int64_t step, const StepResult& result) const;
  void require_few_in_a_row(int64_t step, const std::string& reason) const;

  const GuardConfig& config_;
  GuardState& state_;
};

}  // namespace isoflop
