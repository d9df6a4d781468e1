#include "ops/reference/backend.hpp"
#include "tests/ops/op_case.hpp"

#include <cmath>

namespace isoflop::test {
namespace {

struct Shape {
  int64_t B = 1, T = 1, H = 1, Hkv = 1, hd = 8;
  double spread = 1;     // of q and k; large ones make the softmax pick single keys
  int64_t document = 0;  // > 0: a new document every so many tokens, and attention stays inside
};

/// The first key that each of `queries` last positions of T sees.
std::vector<int32_t> first_keys(const Shape& s, int64_t queries) {
  std::vector<int32_t> first;
  for (int64_t r = 0; s.document > 0 && r < s.B * queries; ++r)
    first.push_back(static_cast<int32_t>((s.T - queries + r % queries) / s.document * s.document));
  return first;
}

// Training: q, k and v are column slices of one packed buffer, and so are their gradients.
OpCase packed(Shape s) {
  OpCase c;
  c.name = fmt::format("attention_B{}_T{}_H{}of{}_hd{}{}", s.B, s.T, s.H, s.Hkv, s.hd,
                       s.spread != 1 ? "_peaked" : "") +
           (s.document > 0 ? fmt::format("_documents{}", s.document) : "");
  const AttentionShape shape{.batch = s.B,
                             .queries = s.T,
                             .keys = s.T,
                             .heads = s.H,
                             .kv_heads = s.Hkv,
                             .head_dim = s.hd,
                             .scale = 1 / std::sqrt(static_cast<double>(s.hd))};
  const int64_t N = s.B * s.T, q = s.H * s.hd, kv = s.Hkv * s.hd;
  const std::vector<int32_t> first = first_keys(s, s.T);
  c.forward = [=](Backend& backend, Tensors& t) {
    const View qkv = t.random("qkv", N, q + 2 * kv, s.spread);
    backend.attention_forward({.shape = shape,
                               .q = qkv.columns(0, q),
                               .k = qkv.columns(q, kv),
                               .v = qkv.columns(q + kv, kv),
                               .out = t.output("out", N, q),
                               .lse = t.output("lse", N, s.H),
                               .first_keys = first});
  };
  c.backward = [=](Backend& backend, Tensors& t) {
    const View qkv = t["qkv"], dqkv = t.output("dqkv", N, q + 2 * kv);
    backend.attention_backward({.shape = shape,
                                .dout = t.random("dout", N, q),
                                .q = qkv.columns(0, q),
                                .k = qkv.columns(q, kv),
                                .v = qkv.columns(q + kv, kv),
                                .out = t["out"],
                                .lse = t["lse"],
                                .dq = dqkv.columns(0, q),
                                .dk = dqkv.columns(q, kv),
                                .dv = dqkv.columns(q + kv, kv),
                                .first_keys = first});
  };
  c.inputs = {"qkv"};
  c.outputs = {"out"};
  // An error d in a score of size |s| is a relative error d in its probability: the bound carries
  // the largest score, about 5 spread^2 for normal q and k.
  c.bound = fp32_bound(s.T + s.hd) * (1 + 5 * s.spread * s.spread);
  return c;
}

// Decoding: the last Tq of Tk positions ask, keys lie in a cache with room behind them.
OpCase cached(Shape s, int64_t queries, int64_t capacity) {
  OpCase c;
  c.name = fmt::format("cached_B{}_Tq{}_Tk{}_of{}_H{}of{}_hd{}", s.B, queries, s.T, capacity, s.H,
                       s.Hkv, s.hd) +
           (s.document > 0 ? fmt::format("_documents{}", s.document) : "");
  const std::vector<int32_t> first = first_keys(s, queries);
  c.forward = [=](Backend& backend, Tensors& t) {
    const int64_t q = s.H * s.hd, kv = s.Hkv * s.hd;
    const View k = t.random("k", s.B * capacity, kv), v = t.random("v", s.B * capacity, kv);
    for (int64_t b = 0; b < s.B; ++b) {  // what lies behind the keys must not be read
      poison(k.slice(b * capacity + s.T, capacity - s.T));
      poison(v.slice(b * capacity + s.T, capacity - s.T));
    }
    backend.attention_forward({.shape = {.batch = s.B,
                                         .queries = queries,
                                         .keys = s.T,
                                         .key_capacity = capacity,
                                         .heads = s.H,
                                         .kv_heads = s.Hkv,
                                         .head_dim = s.hd,
                                         .scale = 0.3},
                               .q = t.random("q", s.B * queries, q),
                               .k = k,
                               .v = v,
                               .out = t.output("out", s.B * queries, q),
                               .lse = {},
                               .first_keys = first});
  };
  c.bound = fp32_bound(s.T + s.hd) * 6;
  return c;
}

const std::vector<OpCase> kSmall = {
    packed({.B = 1, .T = 1, .H = 1, .Hkv = 1, .hd = 2}),
    packed({.B = 2, .T = 4, .H = 4, .Hkv = 2, .hd = 3}),
    packed({.B = 1, .T = 5, .H = 3, .Hkv = 1, .hd = 2, .spread = 3}),
    packed({.B = 2, .T = 5, .H = 2, .Hkv = 1, .hd = 3, .document = 2})};
const std::vector<OpCase> kAll = {
    packed({.B = 1, .T = 1, .H = 4, .Hkv = 4, .hd = 8}),
    packed({.B = 3, .T = 5, .H = 4, .Hkv = 2, .hd = 16}),
    packed({.B = 2, .T = 64, .H = 2, .Hkv = 2, .hd = 32}),
    packed({.B = 1, .T = 130, .H = 2, .Hkv = 1, .hd = 64}),
    packed({.B = 1, .T = 130, .H = 2, .Hkv = 1, .hd = 80}),
    packed({.B = 1, .T = 257, .H = 1, .Hkv = 1, .hd = 64}),
    packed({.B = 1, .T = 64, .H = 3, .Hkv = 1, .hd = 20}),
    packed({.B = 1, .T = 130, .H = 1, .Hkv = 1, .hd = 16, .spread = 8}),
    packed({.B = 2, .T = 130, .H = 2, .Hkv = 1, .hd = 16, .document = 30}),
    packed({.B = 1, .T = 580, .H = 1, .Hkv = 1, .hd = 16, .document = 540}),
    cached({.B = 1, .T = 64, .H = 4, .Hkv = 2, .hd = 64}, 1, 64),
    cached({.B = 2, .T = 65, .H = 4, .Hkv = 2, .hd = 16, .document = 33}, 2, 70),
    cached({.B = 1, .T = 130, .H = 4, .Hkv = 4, .hd = 32, .document = 50}, 70, 200),
    cached({.B = 2, .T = 65, .H = 8, .Hkv = 1, .hd = 16}, 1, 130),
    cached({.B = 2, .T = 130, .H = 2, .Hkv = 2, .hd = 80}, 5, 131),
    cached({.B = 1, .T = 130, .H = 4, .Hkv = 4, .hd = 32}, 70, 200)};

INSTANTIATE_TEST_SUITE_P(Attention, OpGradient, ::testing::ValuesIn(kSmall), case_name);
INSTANTIATE_TEST_SUITE_P(Attention, OpParity, ::testing::ValuesIn(kAll), case_name);
INSTANTIATE_TEST_SUITE_P(Attention, OpThreads, ::testing::ValuesIn(kAll), case_name);

TEST(Attention, EqualScoresAverageTheKeysSeenSoFar) {
  constexpr int64_t T = 5;
  Tensors t(DType::f64);
  const View v = t.output("v", T, 1);
  for (int64_t i = 0; i < T; ++i) set_value(v, i, 0, static_cast<double>(i * i));
  make_reference_backend(DType::f64)
      ->attention_forward({.shape = {.queries = T, .keys = T},
                           .q = t.constant("q", T, 1, 0),
                           .k = t.random("k", T, 1),
                           .v = v,
                           .out = t.output("out", T, 1),
                           .lse = t.output("lse", T, 1)});
  double sum = 0;
  for (int64_t i = 0; i < T; ++i) {
    sum += static_cast<double>(i * i);
    EXPECT_NEAR(value_at(t["out"], i, 0), sum / static_cast<double>(i + 1), 1e-14);
    EXPECT_NEAR(value_at(t["lse"], i, 0), std::log(static_cast<double>(i + 1)), 1e-15);
  }
}

// Two queries of two heads on one key head, against the formula written out.
TEST(Attention, ByHand) {
  Tensors t(DType::f64);
  const View q = t.random("q", 2, 2), k = t.random("k", 2, 1), v = t.random("v", 2, 1);
  make_reference_backend(DType::f64)
      ->attention_forward({.shape = {.queries = 2, .keys = 2, .heads = 2, .scale = 0.7},
                           .q = q,
                           .k = k,
                           .v = v,
                           .out = t.output("out", 2, 2),
                           .lse = {}});
  for (int h = 0; h < 2; ++h) {
    EXPECT_DOUBLE_EQ(value_at(t["out"], 0, h), value_at(v, 0, 0));
    const double a = std::exp(0.7 * value_at(q, 1, h) * value_at(k, 0, 0));
    const double b = std::exp(0.7 * value_at(q, 1, h) * value_at(k, 1, 0));
    const double want = (a * value_at(v, 0, 0) + b * value_at(v, 1, 0)) / (a + b);
    EXPECT_NEAR(value_at(t["out"], 1, h), want, 1e-15);
  }
}

// Head h reads key head h / (heads / kv_heads): repeating the key heads must change nothing.
TEST(Attention, GroupedQueriesEqualRepeatedKeys) {
  constexpr int64_t T = 6, H = 6, Hkv = 2, hd = 3;
  Tensors t(DType::f64);
  const View q = t.random("q", T, H * hd);
  const View k = t.random("k", T, Hkv * hd), v = t.random("v", T, Hkv * hd);
  const View k_all = t.output("k_all", T, H * hd), v_all = t.output("v_all", T, H * hd);
  const auto backend = make_reference_backend(DType::f64);
  for (int64_t h = 0; h < H; ++h) {
    const int64_t source = h < 3 ? 0 : hd;
    backend->copy(k.columns(source, hd), k_all.columns(h * hd, hd));
    backend->copy(v.columns(source, hd), v_all.columns(h * hd, hd));
  }
  AttentionShape shape{.queries = T, .keys = T, .heads = H, .kv_heads = Hkv, .head_dim = hd};
  const View grouped = t.output("grouped", T, H * hd), plain = t.output("plain", T, H * hd);
  backend->attention_forward({.shape = shape, .q = q, .k = k, .v = v, .out = grouped, .lse = {}});
  shape.kv_heads = H;
  backend->attention_forward(
      {.shape = shape, .q = q, .k = k_all, .v = v_all, .out = plain, .lse = {}});
  EXPECT_TRUE(same_bits(grouped, plain));
}

TEST(Attention, OneQueryAtATimeEqualsAllAtOnce) {
  constexpr int64_t T = 7, capacity = 9, hd = 4;
  Tensors t(DType::f64);
  const View q = t.random("q", T, hd), k = t.random("k", capacity, hd);
  const View v = t.random("v", capacity, hd);
  const View whole = t.output("whole", T, hd), steps = t.output("steps", T, hd);
  const auto backend = make_reference_backend(DType::f64);
  backend->attention_forward({.shape = {.queries = T, .keys = T, .head_dim = hd},
                              .q = q,
                              .k = k.slice(0, T),
                              .v = v.slice(0, T),
                              .out = whole,
                              .lse = {}});
  for (int64_t i = 0; i < T; ++i)
    backend->attention_forward(
        {.shape = {.queries = 1, .keys = i + 1, .key_capacity = capacity, .head_dim = hd},
         .q = q.slice(i, 1),
         .k = k,
         .v = v,
         .out = steps.slice(i, 1),
         .lse = {}});
  EXPECT_TRUE(same_bits(whole, steps));
}

}  // namespace
}  // namespace isoflop::test
