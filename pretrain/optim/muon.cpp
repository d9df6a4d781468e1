#include "pretrain/optim/muon.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace isoflop {

namespace {

/// Elements of the largest matrix, and of its largest X X^T.
struct Largest {
  int64_t matrix = 0, square = 0;
};

Largest largest_of(const ParamTable& table) {
  Largest largest;
  const auto see = [&](int64_t rows, int64_t cols) {
    const int64_t side = std::min(rows, cols);
    largest.matrix = std::max(largest.matrix, rows * cols);
    largest.square = std::max(largest.square, side * side);
  };
  for (const ParamSpec& spec : table) {
    if (spec.update != Update::muon) continue;
    if (spec.parts.empty()) see(spec.rows, spec.cols);
    for (const int64_t rows : spec.parts) see(rows, spec.cols);
  }
  return largest;
}

}  // namespace

size_t Muon::scratch_bytes(const ParamTable& table, DType state) {
  const Largest largest = largest_of(table);
  return (kMatrices * static_cast<size_t>(largest.matrix) +
          kSquares * static_cast<size_t>(largest.square)) *
         size_of(state);
}

Muon::Muon(const ParamTable& table, Backend& backend) : dtype_(backend.state_dtype()) {
  const Largest largest = largest_of(table);
  if (largest.matrix == 0) return;
  for (size_t i = 0; i < kMatrices + kSquares; ++i) {
    const int64_t elements = i < kMatrices ? largest.matrix : largest.square;
    buffers_[i] =
        backend.allocate(static_cast<size_t>(elements) * size_of(dtype_), "Muon's scratch");
  }
}

View Muon::piece(size_t which, int64_t rows, int64_t cols) const {
  return make_view(const_cast<std::byte*>(buffers_[which].data()), dtype_, rows, cols);
}

View Muon::orthogonal(Backend& backend, View u) {
  const bool tall = u.rows > u.cols;
  const int64_t side = std::min(u.rows, u.cols);
  View x = piece(0, u.rows, u.cols), next = piece(1, u.rows, u.cols);
  const View gram = piece(2, side, side), polynomial = piece(3, side, side);
  if (x.data != u.data) backend.copy(u, x);
  const double norm = std::sqrt(backend.sum_squares(x));
  if (!(norm > std::numeric_limits<float>::min())) return {};
  for (int i = 0; i < kMuonIterations; ++i) {
    const double scale = i == 0 ? 1 / norm : 1;
    backend.state_product({.a = x,
                           .b = x,
                           .c = gram,
                           .transpose_a = tall,
                           .transpose_b = !tall,
                           .alpha = scale * scale,
                           .beta = 0});
    backend.copy(gram, polynomial);
    backend.state_product({.a = gram, .b = gram, .c = polynomial, .alpha = kMuonC, .beta = kMuonB});
    backend.copy(x, next);
    backend.state_product({.a = tall ? x : polynomial,
                           .b = tall ? polynomial : x,
                           .c = next,
                           .alpha = scale,
                           .beta = kMuonA * scale});
    std::swap(x, next);
  }
  return x;
}

void Muon::update(Backend& backend, const ParamSpec& spec, const MuonStep& step) {
  const double mu = step.momentum;
  const auto part = [&](int64_t first, int64_t count) {
    const View p = step.p.slice(first, count), g = step.g.slice(first, count);
    const View m = step.m.slice(first, count), u = piece(0, count, spec.cols);
    backend.weighted_sum({.x = g, .y = m, .a = (1 - mu) * step.grad_scale, .b = mu});
    backend.weighted_sum({.x = g, .y = u, .a = (1 - mu) * step.grad_scale, .b = 0});
    backend.weighted_sum({.x = m, .y = u, .a = mu, .b = 1});
    const View x = orthogonal(backend, u);
    const double size = kMuonRms * std::sqrt(static_cast<double>(std::max(count, spec.cols)));
    backend.weighted_sum({.x = x ? x : p,
                          .y = p,
                          .a = x ? -step.lr * size : 0.0,
                          .b = 1 - step.lr * step.weight_decay});
  };
  if (spec.parts.empty()) return part(0, spec.rows);
  int64_t first = 0;
  for (const int64_t rows : spec.parts) {
    part(first, rows);
    first += rows;
  }
}

}  // namespace isoflop
