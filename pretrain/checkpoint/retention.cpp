#include "pretrain/checkpoint/retention.hpp"

#include <bit>

namespace isoflop {

bool is_log_spaced(int64_t step) {
  if (step >= 1000) return step % 1000 == 0;
  return step == 0 || std::has_single_bit(static_cast<uint64_t>(step));
}

bool Retention::for_ever(int64_t step) const {
  return (keep_every > 0 && step % keep_every == 0) || (log_spaced && is_log_spaced(step));
}

}  // namespace isoflop
