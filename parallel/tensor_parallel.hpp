// TensorParallel: what the ranks that share each matrix tell each other within a pass. Between the
// products the residual stream and its norms are cut by tokens (sequence parallelism, Korthikanti
// et al. 2022): rank r of n has the rows part_of(N, r, n) of a micro-batch of N tokens.
//
//   whole            slices of all ranks, put together, before a product that is cut by outputs;
//   whole_gradient   the same before the backward pass of one that is cut by inputs
//   partial, reduce  a product that is cut by inputs leaves a sum over all tokens at each rank;
//                    each gets its slice of what these add up to, and likewise the gradients
//                    behind a product that is cut by outputs
//
// Sums are made in the order of the ranks, in fp32 (fp64 where activations are) from what travels
// in the activations' type, and rounded to it once. All ranks of the group make the same calls in
// the same order; a call returns when its result is there. All memory is taken in the constructor.
// Host memory only.
#pragma once
#include "ops/backend.hpp"
#include "parallel/communicator.hpp"
#include "parallel/tensor_cut.hpp"

#include <memory>
#include <vector>

namespace isoflop {

/// An activation as it is added up, and rounded back.
inline float widen(float x) {
  return x;
}
inline float widen(bf16 x) {
  return to_float(x);
}
inline double widen(double x) {
  return x;
}
inline void assign(float& to, float x) {
  to = x;
}
inline void assign(bf16& to, float x) {
  to = to_bf16(x);
}
inline void assign(double& to, double x) {
  to = x;
}

/// A token or target whose row of the vocabulary another rank has.
inline constexpr int32_t kElsewhere = -2;

class TensorParallel {
 public:
  /// `group`: the ranks that share each matrix. Up to `tokens` rows of `width`.
  TensorParallel(std::unique_ptr<Communicator> group,
                 Backend& backend,
                 int64_t tokens,
                 int64_t width);

  int part() const { return group_->rank(); }
  int parts() const { return group_->size(); }
  bool first() const { return part() == 0; }
  /// Our rows of `tokens`.
  RowRange slice(int64_t tokens) const { return part_of(tokens, part(), parts()); }

  /// (our rows of `tokens`, D) -> (tokens, D), valid until the next call of the same name.
  View whole(View slice, int64_t tokens) { return gather(slice, tokens, whole_); }
  View whole_gradient(View slice, int64_t tokens) { return gather(slice, tokens, gradient_); }
  /// Memory for (tokens, D) that reduce() adds up; one at a time.
  View partial(int64_t tokens);
  /// More memory of this shape, until the next whole().
  View scratch(int64_t tokens) const { return whole_.slice(0, tokens); }
  /// into = add + sum over the ranks of our rows of partial(tokens); `add` may be absent, or
  /// `into`.
  void reduce(View into, int64_t tokens, View add = {});

  /// Every rank's value, in order.
  std::vector<int64_t> gather(int64_t value) { return group_->gather(value); }
  /// `bytes` of every rank, in order.
  void all_gather(const void* mine, void* all, size_t bytes) {
    group_->all_gather(mine, all, bytes);
  }

  WireTotals wire_totals() const { return group_->wire_totals(); }
  static size_t bytes_for(int parts, int64_t tokens, int64_t width, DType activation);

 private:
  View gather(View slice, int64_t tokens, View into);

  std::unique_ptr<Communicator> group_;
  Backend& backend_;
  Buffer buffer_;
  View whole_, gradient_, partial_, arrived_;  // arrived_: of each other rank, a slice
  std::vector<Message> sends_, receives_;      // scratch
  std::vector<View> terms_;                    // of a sum, in order
};

}  // namespace isoflop
