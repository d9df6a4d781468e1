// What is particular to the CPU backend: parity with the oracle is in tests/ops. Here: bits that do
// not depend on threads or repeats on shapes large enough to be cut into many tiles, no allocation
// once a shape has been seen, the same results on every instruction set, NaN that stays visible.
#include "core/hash.hpp"
#include "cpu/backend.hpp"
#include "tests/support/allocation_count.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/under_sanitizer.hpp"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>
#include <deque>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace isoflop::test {
namespace {

/// One set of tensors and a pass over every op on them; the hash covers every tensor afterwards.
struct Workload {
  static constexpr int64_t kBatch = 3, kTime = 200, kHeads = 4, kKvHeads = 2, kHead = 32;
  static constexpr int64_t N = kBatch * kTime, D = kHeads * kHead, kKv = kKvHeads * kHead;
  static constexpr int64_t kInner = 500, V = 2100;

  DType activation;
  std::deque<Tensor> tensors;
  std::vector<int32_t> tokens;

  View make(int64_t rows, int64_t cols, double scale = 1) {
    return make(activation, rows, cols, scale);
  }
  View state(int64_t rows, int64_t cols) { return make(DType::f32, rows, cols, 1); }
  View make(DType dtype, int64_t rows, int64_t cols, double scale) {
    tensors.emplace_back(dtype, rows, cols);
    const View view = tensors.back().view();
    fill_normal(view, static_cast<uint64_t>(tensors.size()), scale, 0);
    return view;
  }

  View x = make(N, D), y = make(N, D), dx = make(N, D), wide = make(N, kInner);
  View wide_out = make(N, kInner), wide_grad = make(N, kInner), wide_grad2 = make(N, kInner);
  View w = state(kInner, D), bias = state(1, kInner), dw = state(kInner, D),
       dbias = state(1, kInner);
  View gain = state(1, D), shift = state(1, D), dgain = state(1, D), dshift = state(1, D);
  View mean = state(N, 1), inv = state(N, 1), table = state(V, D), dtable = state(V, D);
  View positions = state(kTime, D), dpositions = state(kTime, D);
  View qkv = make(N, D + 2 * kKv), dqkv = make(N, D + 2 * kKv), out = make(N, D), dout = make(N, D);
  View lse = state(N, kHeads), cos = state(kTime, kHead / 2), sin = state(kTime, kHead / 2);
  View logits = make(N, V, 3), losses = state(N, 1);
  View p = state(300, 217), g = state(300, 217), m = state(300, 217), v = state(300, 217);
  View few = make(3, D), few_out = make(3, kInner), row_out = make(1, D);
  double squares = 0;

  explicit Workload(DType dtype = DType::f32) : activation(dtype) {
    for (int64_t i = 0; i < N; ++i) tokens.push_back(static_cast<int32_t>(i * i % 97));
    for (int64_t r = 0; r < v.rows; ++r)
      for (int64_t c = 0; c < v.cols; ++c) v.row<float>(r)[c] = std::abs(v.row<float>(r)[c]);
  }

  struct Refs {
    WeightRef w, table, positions;
  };
  Refs prepare(Backend& b) { return {b.prepare(w), b.prepare(table), b.prepare(positions)}; }

  void pass(Backend& b, const Refs& refs) {
    b.embedding_forward({.tokens = tokens,
                         .table = refs.table,
                         .positions = refs.positions,
                         .y = x,
                         .scale = 1.5,
                         .sequence = kTime});
    b.layernorm_forward(
        {.x = x, .gain = gain, .bias = shift, .y = y, .mean = mean, .inv_std = inv});
    b.matmul({.x = y, .w = refs.w, .bias = bias, .add = {}, .y = wide});
    b.matmul({.x = few, .w = refs.w, .bias = bias, .add = {}, .y = few_out});
    b.gelu_forward({.x = wide, .y = wide_out, .kind = Gelu::tanh});
    b.gelu_backward({.dy = wide_out, .x = wide, .dx = wide_grad, .kind = Gelu::erf});
    b.swiglu_forward({.gate = wide, .up = wide_grad, .y = wide_out});
    b.swiglu_backward(
        {.dy = wide_out, .gate = wide, .up = wide_out, .dgate = wide_grad, .dup = wide_grad2});
    b.matmul_grad_weight({.dy = wide_grad, .x = y, .dw = dw, .dbias = dbias, .scale = 0.5});
    b.matmul_grad_input({.dy = wide_grad, .w = refs.w, .dx = dx, .accumulate = true});
    b.layernorm_backward({.dy = dx,
                          .x = x,
                          .gain = gain,
                          .mean = mean,
                          .inv_std = inv,
                          .dx_add = y,
                          .dgain = dgain,
                          .dbias = dshift});
    b.rmsnorm_forward({.x = x, .gain = gain, .y = y, .inv_rms = inv});
    b.rmsnorm_backward(
        {.dy = dx, .x = x, .gain = gain, .inv_rms = inv, .dx_add = y, .dgain = dgain});
    attention(b);
    b.embedding_backward({.dy = dout,
                          .tokens = tokens,
                          .dtable = dtable,
                          .dpositions = dpositions,
                          .sequence = kTime});
    b.cross_entropy({.logits = logits, .targets = tokens, .losses = losses, .grad_scale = 0.01});
    b.adamw({.p = p, .g = g, .m = m, .v = v, .lr = 1e-3, .weight_decay = 0.1, .grad_scale = 0.7});
    squares = b.sum_squares(dtable);
    b.zero(wide_grad2);
    b.copy(g, m);
    b.add(g, p);
  }

  void attention(Backend& b) {
    const View q = qkv.columns(0, D), k = qkv.columns(D, kKv), values = qkv.columns(D + kKv, kKv);
    const AttentionShape shape{.batch = kBatch,
                               .queries = kTime,
                               .keys = kTime,
                               .heads = kHeads,
                               .kv_heads = kKvHeads,
                               .head_dim = kHead,
                               .scale = 0.2};
    b.rope(
        {.x = q, .cos = cos, .sin = sin, .tokens = kTime, .head_dim = kHead, .rotary_dim = kHead});
    b.attention_forward({.shape = shape, .q = q, .k = k, .v = values, .out = out, .lse = lse});
    b.attention_backward({.shape = shape,
                          .dout = dout,
                          .q = q,
                          .k = k,
                          .v = values,
                          .out = out,
                          .lse = lse,
                          .dq = dqkv.columns(0, D),
                          .dk = dqkv.columns(D, kKv),
                          .dv = dqkv.columns(D + kKv, kKv)});
    b.attention_forward({.shape = {.queries = 1,
                                   .keys = kTime,
                                   .heads = kHeads,
                                   .kv_heads = kKvHeads,
                                   .head_dim = kHead,
                                   .scale = 0.2},
                         .q = q.slice(0, 1),
                         .k = k.slice(0, kTime),
                         .v = values.slice(0, kTime),
                         .out = row_out,
                         .lse = {}});
  }

  uint64_t hash() const {
    Hasher hasher;
    for (const Tensor& t : tensors) hasher.update(t.view().data, t.view().bytes());
    hasher.update(&squares, sizeof(squares));
    return hasher.digest();
  }
};

uint64_t hash_after_two_passes(int threads, DType dtype) {
  ThreadTeam team(threads);
  const std::unique_ptr<Backend> backend = make_cpu_backend(team, dtype);
  Workload work(dtype);
  const Workload::Refs refs = work.prepare(*backend);
  work.pass(*backend, refs);
  backend->refresh(refs.w);
  work.pass(*backend, refs);
  return work.hash();
}

class CpuBackendIn : public ::testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(CpuBackend,
                         CpuBackendIn,
                         ::testing::Values(DType::f32, DType::bf16),
                         [](const auto& param) { return std::string(name_of(param.param)); });

TEST_P(CpuBackendIn, BitsDoNotDependOnThreadsOrRepeats) {
  const uint64_t one = hash_after_two_passes(1, GetParam());
  for (const int threads : {1, 2, 3, 8})
    EXPECT_EQ(hash_after_two_passes(threads, GetParam()), one) << threads;
}

TEST_P(CpuBackendIn, AllocatesNothingOnceShapesAreSeen) {
#if defined(ISOFLOP_UNDER_TSAN)
  GTEST_SKIP() << "nothing is counted";
#endif
  const int64_t start = allocation_count();
  ThreadTeam team(2);
  const std::unique_ptr<Backend> backend = make_cpu_backend(team, GetParam());
  Workload work(GetParam());
  const Workload::Refs refs = work.prepare(*backend);
  work.pass(*backend, refs);
  const int64_t before = allocation_count();
  ASSERT_GT(before, start) << "nothing is being counted";
  backend->refresh(refs.w);
  work.pass(*backend, refs);
  EXPECT_EQ(allocation_count() - before, 0);
}

// Restores what Highway found on this machine when a test that narrowed it ends.
struct TargetGuard {
  explicit TargetGuard(int64_t targets) { hwy::SetSupportedTargetsForTest(targets); }
  ~TargetGuard() {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

TEST(CpuBackend, EveryInstructionSetAgrees) {
  ThreadTeam team(2);
  std::vector<std::unique_ptr<Workload>> results;
  std::vector<std::string> names;
  for (const int64_t target : {int64_t{HWY_AVX3}, int64_t{HWY_AVX2}, int64_t{HWY_STATIC_TARGET}}) {
    if (!(hwy::SupportedTargets() & target) && target != HWY_STATIC_TARGET) continue;
    const TargetGuard guard(target);
    const std::unique_ptr<Backend> backend = make_cpu_backend(team);
    names.push_back(backend->description());
    results.push_back(std::make_unique<Workload>());
    results.back()->pass(*backend, results.back()->prepare(*backend));
  }
  for (size_t k = 1; k < results.size(); ++k) {
    EXPECT_NE(names[k], names[0]);
    EXPECT_NEAR(results[k]->squares, results[0]->squares, 1e-6 * results[0]->squares) << names[k];
    for (size_t i = 0; i < results[0]->tensors.size(); ++i)
      // Sums of up to 2100 terms in another order: some ten roundings of 2^-24 beside the largest.
      EXPECT_LT(relative_error(results[k]->tensors[i].view(), results[0]->tensors[i].view()), 1e-5)
          << names[k] << ", tensor " << i;
  }
}

TEST(CpuBackend, NamesTheInstructionSetAndNotTheThreads) {
  ThreadTeam one(1), three(3);
  const std::string name = make_cpu_backend(one)->description();
  EXPECT_TRUE(name.starts_with("cpu ")) << name;
  EXPECT_NE(name.find("oneDNN"), std::string::npos) << name;
  EXPECT_EQ(make_cpu_backend(three)->description(), name);
}

TEST_P(CpuBackendIn, NanAndInfinityStayVisible) {
  ThreadTeam team(1);
  const DType dtype = GetParam();
  const std::unique_ptr<Backend> b = make_cpu_backend(team, dtype);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float bad : {nan, std::numeric_limits<float>::infinity()})
    for (const int64_t at : {0, 5, 40}) {
      Tensor logits(dtype, 1, 41), loss(DType::f32, 1, 1);
      set_value(logits, 0, at, bad);
      const std::vector<int32_t> target{3};
      b->cross_entropy(
          {.logits = logits.view(), .targets = target, .losses = loss.view(), .grad_scale = 1});
      EXPECT_FALSE(std::isfinite(*loss.view().as<float>())) << bad << " at " << at;
      if (dtype == DType::f32) {
        EXPECT_FALSE(std::isfinite(b->sum_squares(logits.view()))) << bad << " at " << at;
      }
    }
  for (const int64_t queries : {1, 16}) {  // the row kernel and the blocks
    Tensor qkv(dtype, 16, 24), out(dtype, queries, 8);
    fill_normal(qkv.view(), 1, 1, 0);
    set_value(qkv, 3, 10, nan);  // a key
    b->attention_forward({.shape = {.queries = queries, .keys = 16, .head_dim = 8},
                          .q = qkv.view().columns(0, 8).slice(0, queries),
                          .k = qkv.view().columns(8, 8),
                          .v = qkv.view().columns(16, 8),
                          .out = out.view(),
                          .lse = {}});
    EXPECT_TRUE(std::isnan(value_at(out, queries - 1, 0))) << queries;
  }
}

TEST(CpuBackend, MaskedLogitsOfMinusInfinityHaveNoWeight) {
  ThreadTeam team(1);
  const std::unique_ptr<Backend> b = make_cpu_backend(team);
  const float inf = std::numeric_limits<float>::infinity();
  Tensor logits(DType::f32, 1, 3000), loss(DType::f32, 1, 1);
  fill(logits.view(), -inf);
  logits.view().as<float>()[2500] = 1;
  logits.view().as<float>()[2501] = 1;
  const std::vector<int32_t> target{2500};
  b->cross_entropy(
      {.logits = logits.view(), .targets = target, .losses = loss.view(), .grad_scale = 1});
  EXPECT_FLOAT_EQ(*loss.view().as<float>(), std::log(2.0f));
  EXPECT_FLOAT_EQ(logits.view().as<float>()[2500], -0.5f);
  EXPECT_FLOAT_EQ(logits.view().as<float>()[2501], 0.5f);
  EXPECT_EQ(logits.view().as<float>()[0], 0.0f);
}

}  // namespace
}  // namespace isoflop::test
