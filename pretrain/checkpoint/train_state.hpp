// What a run remembers besides tensors: enough to go on bit for bit. Everything else of a step is
// computed from (config, seed, step).
#pragma once
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace isoflop {

/// What the guard against jumps of loss and gradient remembers (pretrain/train/guard.hpp). Steps
/// count from 1, as in metrics.jsonl.
struct GuardState {
  struct Seen {
    int64_t step = 0;
    double loss = 0, grad_norm = 0;
  };
  static constexpr size_t kMostSeen = 10001;  // the widest window and the step in between
  std::vector<Seen> seen;                     // accepted steps, oldest first
  std::vector<int64_t> skipped;               // computed, not applied; ascending
  std::vector<int64_t> left_out;              // not even computed, after a rewind; ascending
  int64_t rewinds = 0;
};

struct TrainState {
  static constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  static constexpr size_t kRecentLosses = 50;

  int64_t step = 0;    // steps done
  int64_t tokens = 0;  // tokens seen
  uint64_t seed = 0;
  int64_t slots = 0;           // as resolved at the first launch
  int64_t optimizer_step = 0;  // the optimizer's own t; behind `step` when steps were skipped
  std::string config_hash;     // of the keys that must not change on resume
  std::string kernel_plan;     // text of kernel-plan.json, replayed on resume
  std::string config;          // resolved config (TOML); a file of its own in the checkpoint
  std::vector<double> recent_losses;  // of the last kRecentLosses steps, oldest first
  double last_valid_loss = kNone;     // NaN: not measured yet
  double best_valid_loss = kNone;
  GuardState guard;

  void add_loss(double loss);
  /// `train_loss` of a run: the mean of the recent losses; NaN without any.
  double mean_recent_loss() const;
};

/// state.json: everything but `config`. Every double keeps its bits; NaN is written as null.
std::string train_state_json(const TrainState& state);
/// FormatError naming `file` and the field.
TrainState parse_train_state(const std::string& text, const std::string& file);

}  // namespace isoflop
