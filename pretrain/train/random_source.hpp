// Random tokens instead of data, where only speed is asked for: they cost what real ones do.
#pragma once
#include "pretrain/train/train_step.hpp"

namespace isoflop {

/// Token i of a sequence is uniform in [0, vocabulary), a function of (seed, sequence, i).
SequenceSource random_source(int64_t vocabulary, uint64_t seed);

}  // namespace isoflop
