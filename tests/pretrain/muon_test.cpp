// Muon against its definition in double: what the iteration makes of singular values, one step, the
// parts of a stacked matrix, and that the model trains the same whoever owns what.
#include "pretrain/optim/muon.hpp"

#include "core/rng.hpp"
#include "core/threads.hpp"
#include "cpu/backend.hpp"
#include "ops/reference/backend.hpp"
#include "pretrain/model/parametrized.hpp"
#include "pretrain/optim/optimizer.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace isoflop {
namespace {

using Matrix = std::vector<std::vector<double>>;

Matrix matrix(int64_t rows, int64_t cols) {
  return Matrix(static_cast<size_t>(rows), std::vector<double>(static_cast<size_t>(cols)));
}
Matrix random_matrix(int64_t rows, int64_t cols, uint64_t seed) {
  Matrix a = matrix(rows, cols);
  uint64_t i = 0;
  for (std::vector<double>& row : a)
    for (double& x : row) x = normal01(seed, 1, i++);
  return a;
}
Matrix product(const Matrix& a, const Matrix& b) {
  Matrix c = matrix(static_cast<int64_t>(a.size()), static_cast<int64_t>(b[0].size()));
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t k = 0; k < b.size(); ++k)
      for (size_t j = 0; j < b[0].size(); ++j) c[i][j] += a[i][k] * b[k][j];
  return c;
}
Matrix transposed(const Matrix& a) {
  Matrix t = matrix(static_cast<int64_t>(a[0].size()), static_cast<int64_t>(a.size()));
  for (size_t i = 0; i < a.size(); ++i)
    for (size_t j = 0; j < a[0].size(); ++j) t[j][i] = a[i][j];
  return t;
}
double dot(const std::vector<double>& a, const std::vector<double>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// A = sum of s_i u_i v_i^T by one-sided Jacobi rotations of the rows (Hestenes 1958); rows <=
/// cols.
struct Svd {
  Matrix u, rows;  // A = u rows, the rows orthogonal
  explicit Svd(const Matrix& a)
      : u(matrix(static_cast<int64_t>(a.size()), static_cast<int64_t>(a.size()))), rows(a) {
    for (size_t i = 0; i < a.size(); ++i) u[i][i] = 1;
    for (int sweep = 0; sweep < 40; ++sweep)
      for (size_t i = 0; i < rows.size(); ++i)
        for (size_t j = i + 1; j < rows.size(); ++j) rotate(i, j);
  }
  void rotate(size_t i, size_t j) {
    const double off = dot(rows[i], rows[j]);
    if (off == 0) return;
    const double zeta = (dot(rows[j], rows[j]) - dot(rows[i], rows[i])) / (2 * off);
    const double t = (zeta >= 0 ? 1 : -1) / (std::abs(zeta) + std::sqrt(1 + zeta * zeta));
    const double c = 1 / std::sqrt(1 + t * t), s = c * t;
    for (size_t k = 0; k < rows[i].size(); ++k) {
      const double a = rows[i][k], b = rows[j][k];
      rows[i][k] = c * a - s * b, rows[j][k] = s * a + c * b;
    }
    for (std::vector<double>& row : u) {
      const double a = row[i], b = row[j];
      row[i] = c * a - s * b, row[j] = s * a + c * b;
    }
  }
};

/// The definition: five times a s + b s^3 + c s^5 on each singular value of A / |A|.
Matrix orthogonalized(const Matrix& a) {
  if (a.size() > a[0].size()) return transposed(orthogonalized(transposed(a)));
  Svd svd(a);
  double norm = 0;
  for (const std::vector<double>& row : a) norm += dot(row, row);
  norm = std::sqrt(norm);
  for (std::vector<double>& row : svd.rows) {
    const double length = std::sqrt(dot(row, row));
    double s = length / norm;
    for (int i = 0; i < 5; ++i) s = 3.4445 * s - 4.7750 * s * s * s + 2.0315 * s * s * s * s * s;
    for (double& x : row) x *= s / length;
  }
  return product(svd.u, svd.rows);
}

struct Rig {
  ThreadTeam team;
  std::unique_ptr<Backend> backend;
  ParamTable table;
  Rig(int64_t rows, int64_t cols, std::vector<int64_t> parts, DType dtype, int threads = 1)
      : team(threads),
        backend(dtype == DType::f32 ? make_cpu_backend(team) : make_reference_backend(dtype)) {
    ParamSpec spec;
    spec.name = "w";
    spec.rows = rows;
    spec.cols = cols;
    spec.parts = std::move(parts);
    spec.decay = true;
    spec.update = Update::muon;
    table = {spec};
  }
};

double at(View v, int64_t r, int64_t c) {
  return v.dtype == DType::f32 ? v.row<float>(r)[c] : v.row<double>(r)[c];
}
void fill(View v, const Matrix& from, double scale = 1) {
  for (int64_t r = 0; r < v.rows; ++r)
    for (int64_t c = 0; c < v.cols; ++c) {
      const double x = scale * from[static_cast<size_t>(r)][static_cast<size_t>(c)];
      if (v.dtype == DType::f32)
        v.row<float>(r)[c] = static_cast<float>(x);
      else
        v.row<double>(r)[c] = x;
    }
}
double largest_difference(View got, const Matrix& want) {
  double most = 0;
  for (int64_t r = 0; r < got.rows; ++r)
    for (int64_t c = 0; c < got.cols; ++c)
      most = std::max(
          most, std::abs(at(got, r, c) - want[static_cast<size_t>(r)][static_cast<size_t>(c)]));
  return most;
}

// Also from very small and very large gradients: the iteration starts from u / |u|.
TEST(Muon, TheIterationActsOnSingularValuesAlone) {
  for (const auto& [rows, cols] :
       {std::pair{12, 40}, std::pair{40, 12}, std::pair{24, 24}, std::pair{1, 7}, std::pair{7, 1}})
    for (const DType dtype : {DType::f64, DType::f32})
      for (const double scale : {1e-8, 1.0, 1e6}) {
        const Matrix u = random_matrix(rows, cols, 5), want = orthogonalized(u);
        Rig rig(rows, cols, {}, dtype);
        Muon muon(rig.table, *rig.backend);
        ParamBuffer gradient(rig.table, dtype, "u");
        fill(gradient[0], u, scale);
        const View x = muon.orthogonal(*rig.backend, gradient[0]);
        // fp32: sums of up to 40 terms in five steps, each of which stretches small
        // values 3.4-fold.
        EXPECT_LT(largest_difference(x, want), dtype == DType::f64 ? 1e-12 : 2e-4)
            << rows << " x " << cols << " * " << scale;
      }
}

TEST(Muon, SingularValuesComeOutNearOne) {
  const int64_t rows = 16, cols = 48;
  Rig rig(rows, cols, {}, DType::f64);
  Muon muon(rig.table, *rig.backend);
  ParamBuffer gradient(rig.table, DType::f64, "u");
  fill(gradient[0], random_matrix(rows, cols, 9));
  const View x = muon.orthogonal(*rig.backend, gradient[0]);
  Matrix got = matrix(rows, cols);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      got[static_cast<size_t>(r)][static_cast<size_t>(c)] = at(x, r, c);
  for (const std::vector<double>& row : Svd(got).rows) {
    const double s = std::sqrt(dot(row, row));
    EXPECT_GT(s, 0.65);
    EXPECT_LT(s, 1.25);
  }
}

// Two updates with clipping and decay; queries, keys and values are three matrices.
TEST(Optimizer, MuonsStepIsItsDefinitionPartByPart) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    const std::vector<int64_t> parts = {24, 8, 8};
    const int64_t rows = 40, cols = 20;
    Rig rig(rows, cols, parts, dtype);
    rig.table[0].lr_scale = 0.5;
    rig.table[0].decay_scale = 2;
    OptimizerConfig config;
    config.kind = "muon";
    config.momentum = 0.9;
    config.weight_decay = 0.3;
    Optimizer optimizer(rig.table, config, *rig.backend);
    ParamBuffer parameters(rig.table, dtype, "p"), gradients(rig.table, dtype, "g");
    Matrix p = random_matrix(rows, cols, 1), m = matrix(rows, cols);
    fill(parameters[0], p);
    for (int t = 0; t < 2; ++t) {
      const Matrix g = random_matrix(rows, cols, static_cast<uint64_t>(2 + t));
      fill(gradients[0], g);
      optimizer.update(parameters, gradients, 0.1, 0.25, t);
      size_t first = 0;
      for (const int64_t count : parts) {
        Matrix u = matrix(count, cols);
        for (size_t r = 0; r < u.size(); ++r)
          for (size_t c = 0; c < u[r].size(); ++c) {
            double& momentum = m[first + r][c];
            const double gradient = 0.25 * g[first + r][c];
            momentum = 0.9 * momentum + 0.1 * gradient;
            u[r][c] = 0.9 * momentum + 0.1 * gradient;
          }
        const Matrix x = orthogonalized(u);
        const double size = 0.2 * std::sqrt(static_cast<double>(std::max(count, cols)));
        for (size_t r = 0; r < u.size(); ++r)
          for (size_t c = 0; c < u[r].size(); ++c)
            p[first + r][c] -= 0.05 * 0.6 * p[first + r][c] + 0.05 * size * x[r][c];
        first += static_cast<size_t>(count);
      }
      EXPECT_LT(largest_difference(parameters[0], p), dtype == DType::f64 ? 1e-12 : 2e-5) << t;
      EXPECT_LT(largest_difference(optimizer.m[0], m), 1e-6) << t;
    }
    EXPECT_FALSE(optimizer.v[0]) << "no second moment";
  }
}

TEST(Muon, AGradientOfZeroLeavesOnlyTheDecay) {
  Rig rig(8, 12, {}, DType::f32);
  Muon muon(rig.table, *rig.backend);
  ParamBuffer p(rig.table, DType::f32, "p"), g(rig.table, DType::f32, "g"),
      m(rig.table, DType::f32, "m");
  const Matrix start = random_matrix(8, 12, 1);
  fill(p[0], start);
  muon.update(*rig.backend, rig.table[0],
              {.p = p[0], .g = g[0], .m = m[0], .lr = 0.5, .weight_decay = 0.5});
  for (int64_t r = 0; r < 8; ++r)
    for (int64_t c = 0; c < 12; ++c)
      EXPECT_FLOAT_EQ(
          static_cast<float>(at(p[0], r, c)),
          0.75f * static_cast<float>(start[static_cast<size_t>(r)][static_cast<size_t>(c)]));
}

// Of every architecture: the matrices within blocks, and nothing else; the parts add up.
TEST(Muon, UpdatesTheMatricesOfBlocks) {
  for (const Arch arch : {Arch::gpt3, Arch::pythia, Arch::llama}) {
    RunConfig config;
    config.model.arch = arch;
    config.model.layers = 2;
    config.model.d_model = 32;
    config.model.heads = 4;
    config.model.kv_heads = 2;
    config.model.head_dim = 8;
    config.model.d_ff = 96;
    config.model.vocabulary = 100;
    config.model.tied_embeddings = false;
    config.optimizer.kind = "muon";
    const ParamTable table = make_parametrized_table(config);
    int64_t updated = 0;
    for (const ParamSpec& spec : table) {
      const bool block_matrix = spec.rows > 1 && spec.stage_block >= 0 && spec.stage_block < 2;
      EXPECT_EQ(spec.update == Update::muon, block_matrix) << spec.name;
      updated += block_matrix;
      int64_t rows = 0;
      for (const int64_t count : spec.parts) rows += count;
      EXPECT_TRUE(spec.parts.empty() || rows == (spec.is_vector() ? spec.cols : spec.rows))
          << spec.name;
    }
    EXPECT_EQ(updated, arch == Arch::llama ? 14 : 8);
  }
}

}  // namespace
}  // namespace isoflop
