// How the global batch is cut, and how it grows at the start of a run: functions of the config and
// the step alone, like everything that decides which sequences a step sees.
#pragma once
#include "pretrain/config/run_config.hpp"

#include <cstdint>
#include <vector>

namespace isoflop {

/// Steps from `first_step` on have so many micro-batches in a slot; before them the run has read so
/// many sequences.
struct BatchLevel {
  int64_t first_step = 0;
  int64_t micro_batches = 1;
  int64_t first_sequence = 0;
};

/// A step is slots x micro-batches x micro_batch sequences of `context` tokens.
struct BatchPlan {
  int64_t slots = 1;
  int64_t micro_batches = 1;  // per slot, once the batch has grown
  int64_t micro_batch = 1;    // sequences
  int64_t context = 0;
  std::vector<BatchLevel> ramp = {};  // ends with the full batch; empty = full from the start

  int64_t sequences() const { return slots * micro_batches * micro_batch; }
  int64_t tokens() const { return sequences() * context; }  // of a full step
  int64_t micro_tokens() const { return micro_batch * context; }

  int64_t micro_batches_at(int64_t step) const;
  int64_t sequences_at(int64_t step) const { return slots * micro_batches_at(step) * micro_batch; }
  int64_t tokens_at(int64_t step) const { return sequences_at(step) * context; }
  /// Sequences of all steps before `step`, which is the first that it reads.
  int64_t first_sequence(int64_t step) const;
  int64_t tokens_before(int64_t step) const { return first_sequence(step) * context; }
  /// Steps that read `tokens`, the last of them in part.
  double steps_of(double tokens) const;
};

/// Of a resolved config. With schedule.batch_ramp the batch grows about linearly in the tokens read
/// (Brown et al. 2020, appendix B): every level, a micro-batch more in each slot (at most 1,000
/// levels), lasts for an equal share of the ramp's tokens, in whole steps rounded up.
/// UserError when batch_ramp_from does not divide or is more than the batch.
BatchPlan batch_plan(const RunConfig& config);

}  // namespace isoflop
