// What the softmax of both attentions does to the ends of a row of scores.
#if defined(ISOFLOP_CPU_ATTENTION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef ISOFLOP_CPU_ATTENTION_INL_H_
#undef ISOFLOP_CPU_ATTENTION_INL_H_
#else
#define ISOFLOP_CPU_ATTENTION_INL_H_
#endif

#include "cpu/attention_blocks.hpp"
#include "cpu/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

/// Makes the scores from x[count] to the end of the vector ones whose exponential is zero.
HWY_INLINE void pad(float* x, int64_t count) {
  std::fill(x + count, x + (count + lanes() - 1) / lanes() * lanes(), kUnseen);
}

/// Zeros in what the row does not see.
template <class T>
HWY_INLINE void clear_unseen(const ScoreBlock& block, int64_t hidden, int64_t seen, T* row) {
  std::fill(row, row + hidden, T());
  std::fill(row + std::max(hidden, seen), row + block.keys, T());
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
