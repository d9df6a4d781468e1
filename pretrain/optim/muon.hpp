// Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): the momentum of a matrix, made
// nearly orthogonal by five steps of a Newton-Schulz iteration, is its update. With g' = g *
// grad_scale and mu the momentum:
//   m = mu m + (1-mu) g';  u = mu m + (1-mu) g'        (Nesterov)
//   X = u / |u|;  five times  X = a X + (b A + c A^2) X  with A = X X^T  (A = X^T X when tall)
//   p = p - lr * weight_decay * p - lr * 0.2 sqrt(max(rows, cols)) X
// The iteration takes each singular value s of u / |u| to about 1 (0.7 to 1.2 from s = 0.01 on) and
// leaves the singular vectors. 0.2 sqrt(max(rows, cols)) (Liu et al. 2025, arXiv:2502.16982) makes
// the root mean square of an update 0.2, as AdamW's is, so that one rate and one decay serve both;
// how rates follow the width is in muP's table. A matrix stacked from several (queries, keys and
// values) is taken apart. A gradient of zero leaves only the decay.
//
// A matrix is updated whole, by one rank, in products whose bits depend on its shape alone: the
// same for any number of ranks and threads.
#pragma once
#include "core/param.hpp"
#include "ops/backend.hpp"

namespace isoflop {

/// The root mean square of an update at rate 1.
inline constexpr double kMuonRms = 0.2;
inline constexpr int kMuonIterations = 5;
/// Coefficients a, b, c of the iteration.
inline constexpr double kMuonA = 3.4445, kMuonB = -4.7750, kMuonC = 2.0315;

struct MuonStep {
  View p, g, m;  // a whole tensor, state dtype
  double lr = 0, momentum = 0.95, weight_decay = 0;
  double grad_scale = 1;
};

class Muon {
 public:
  Muon() = default;
  /// Memory for the largest matrix that Muon updates; none when there is no such.
  Muon(const ParamTable& table, Backend& backend);

  void update(Backend& backend, const ParamSpec& spec, const MuonStep& step);
  /// The nearly orthogonal matrix of `u`, of which it keeps nothing; valid until the next call.
  /// Absent when u is zero.
  View orthogonal(Backend& backend, View u);

  static size_t scratch_bytes(const ParamTable& table, DType state);

 private:
  View piece(size_t which, int64_t rows, int64_t cols) const;

  static constexpr size_t kMatrices = 2, kSquares = 2;
  Buffer buffers_[kMatrices + kSquares];  // X, its successor; A, b A + c A^2
  DType dtype_ = DType::f32;
};

}  // namespace isoflop
