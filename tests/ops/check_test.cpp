#include "ops/check.hpp"

#include "tests/support/compare.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace isoflop::test {
namespace {

// Each required view in turn is absent, one row too tall, one column too wide, and of another
// dtype.
template <class Args>
void expect_refused(const Args& good, const std::vector<View Args::*>& views) {
  EXPECT_NO_THROW(check(good));
  for (size_t i = 0; i < views.size(); ++i) {
    Args bad = good;
    View& v = bad.*views[i];
    const View saved = v;
    v.data = nullptr;
    EXPECT_THROW(check(bad), std::logic_error) << "absent view " << i;
    v = saved;
    v.rows += 1;
    EXPECT_THROW(check(bad), std::logic_error) << "rows of view " << i;
    v = saved;
    v.cols += 1;
    v.stride += 1;
    EXPECT_THROW(check(bad), std::logic_error) << "columns of view " << i;
    v = saved;
    v.dtype = DType::u16;
    EXPECT_THROW(check(bad), std::logic_error) << "dtype of view " << i;
    v = saved;
    v.dtype = DType::f64;  // a float, but not the one beside the others
    EXPECT_THROW(check(bad), std::logic_error) << "precision of view " << i;
  }
}

class Check : public ::testing::Test {
 protected:
  View view(int64_t rows, int64_t cols) {
    // Distinct addresses; nothing reads them.
    return make_view(memory_ + 4 * next_++, DType::f32, rows, cols);
  }
  WeightRef weight(int64_t rows, int64_t cols) { return {rows, cols, memory_}; }

  // A copy of `good` with one thing changed must be refused.
  template <class Args, class Change>
  void expect_bad(const Args& good, Change change) {
    Args bad = good;
    change(bad);
    EXPECT_THROW(check(bad), std::logic_error);
  }

 private:
  float memory_[256] = {};
  int next_ = 0;
};

TEST_F(Check, Norms) {
  const View x = view(3, 8), y = view(3, 8), gain = view(1, 8), bias = view(1, 8);
  const View mean = view(3, 1), inv = view(3, 1), dx = view(3, 8);
  using F = LayerNormForward;
  expect_refused(F{.x = x, .gain = gain, .bias = bias, .y = y, .mean = mean, .inv_std = inv},
                 {&F::x, &F::gain, &F::y, &F::mean, &F::inv_std});
  expect_bad(F{.x = x, .gain = gain, .bias = bias, .y = y, .mean = mean, .inv_std = inv},
             [&](F& f) { f.bias = view(1, 7); });
  using B = LayerNormBackward;
  const View dgain = view(1, 8), dbias = view(1, 8);
  const B back{.dy = y,
               .x = x,
               .gain = gain,
               .mean = mean,
               .inv_std = inv,
               .dx_add = dx,
               .dgain = dgain,
               .dbias = dbias};
  expect_refused(back, {&B::dy, &B::x, &B::gain, &B::mean, &B::inv_std, &B::dx_add, &B::dgain});
  expect_bad(back, [&](B& b) { b.dbias = view(1, 7); });
  expect_bad(back, [](B& b) { b.dx_add = b.dy; });
  expect_bad(back, [](B& b) { b.dx_add.stride = 7; });
  using RF = RmsNormForward;
  expect_refused(RF{.x = x, .gain = gain, .y = y, .inv_rms = inv},
                 {&RF::x, &RF::gain, &RF::y, &RF::inv_rms});
  using RB = RmsNormBackward;
  expect_refused(RB{.dy = y, .x = x, .gain = gain, .inv_rms = inv, .dx_add = dx, .dgain = dgain},
                 {&RB::dy, &RB::x, &RB::gain, &RB::inv_rms, &RB::dx_add, &RB::dgain});
}

TEST_F(Check, SixteenBitActivationsKeepStateInFloat) {
  View x = view(3, 8), y = view(3, 8);
  x.dtype = y.dtype = DType::bf16;
  RmsNormForward a{.x = x, .gain = view(1, 8), .y = y, .inv_rms = view(3, 1)};
  EXPECT_NO_THROW(check(a));
  a.gain.dtype = DType::bf16;
  EXPECT_THROW(check(a), std::logic_error);
  EXPECT_EQ(state_dtype_of(DType::f16), DType::f32);
  EXPECT_EQ(state_dtype_of(DType::c128), DType::c128);
  EXPECT_THROW(state_dtype_of(DType::i32), std::logic_error);
}

TEST_F(Check, MatrixProducts) {
  const View x = view(3, 4), y = view(3, 5), bias = view(1, 5), add = view(3, 5);
  const Matmul good{.x = x, .w = weight(5, 4), .bias = bias, .add = add, .y = y};
  expect_refused(good, {&Matmul::x, &Matmul::y});
  expect_bad(good, [](Matmul& m) { m.bias.cols = 4; });
  expect_bad(good, [](Matmul& m) { m.add.rows = 2; });
  expect_bad(good, [](Matmul& m) { m.w = {4, 5, m.w.handle}; });
  expect_bad(good, [](Matmul& m) { m.w.handle = nullptr; });
  Matmul in_place = good;
  in_place.add = in_place.y;
  EXPECT_NO_THROW(check(in_place));
  using I = MatmulGradInput;
  expect_refused(I{.dy = y, .w = weight(5, 4), .dx = x}, {&I::dy, &I::dx});
  using W = MatmulGradWeight;
  const W grad{.dy = y, .x = x, .dw = view(5, 4), .dbias = bias};
  expect_refused(grad, {&W::dy, &W::x, &W::dw});
  expect_bad(grad, [](W& w) { w.dbias.rows = 2; });
  using G = MatmulGelu;
  const G hidden{.x = x, .w = weight(5, 4), .bias = bias, .pre = y, .y = add};
  expect_refused(hidden, {&G::x, &G::pre, &G::y});
  expect_bad(hidden, [](G& g) { g.y = g.pre; });
  using H = MatmulGeluGradInput;
  const H back{.dy = y, .w = weight(5, 4), .pre = x, .dx = view(3, 4)};
  expect_refused(back, {&H::dy, &H::pre, &H::dx});
  expect_bad(back, [](H& h) { h.dx = h.pre; });
}

TEST_F(Check, Embedding) {
  const std::vector<int32_t> tokens = {0, 4, 2, 1};
  const EmbeddingForward good{.tokens = tokens,
                              .table = weight(5, 4),
                              .positions = weight(6, 4),
                              .y = view(4, 4),
                              .sequence = 2,
                              .first_position = 4};
  EXPECT_NO_THROW(check(good));
  expect_bad(good, [](auto& a) { a.table.rows = 4; });      // token 4
  expect_bad(good, [](auto& a) { a.first_position = 5; });  // position 6
  expect_bad(good, [](auto& a) { a.sequence = 3; });        // not whole sequences
  expect_bad(good, [](auto& a) { a.sequence = 0; });
  expect_bad(good, [](auto& a) { a.tokens = a.tokens.subspan(1); });
  const std::vector<int32_t> negative = {0, -1, 2, 1};
  expect_bad(good, [&](auto& a) { a.tokens = negative; });
  using B = EmbeddingBackward;
  const B back{.dy = view(4, 4),
               .tokens = tokens,
               .dtable = view(5, 4),
               .dpositions = view(2, 4),
               .sequence = 2};
  EXPECT_NO_THROW(check(back));
  expect_bad(back, [](B& b) { b.dtable.rows = 4; });
  expect_bad(back, [](B& b) { b.dpositions.rows = 1; });
  expect_bad(back, [](B& b) { b.dpositions.dtype = DType::bf16; });
}

TEST_F(Check, RotaryEmbedding) {
  const Rope good{.x = view(4, 16),
                  .cos = view(5, 3),
                  .sin = view(5, 3),
                  .tokens = 2,
                  .first_position = 3,
                  .head_dim = 8,
                  .rotary_dim = 6};
  EXPECT_NO_THROW(check(good));
  expect_bad(good, [](Rope& r) { r.head_dim = 5; });
  expect_bad(good, [](Rope& r) { r.rotary_dim = 10; });
  expect_bad(good, [](Rope& r) { r.rotary_dim = 5; });
  expect_bad(good, [](Rope& r) { r.first_position = 4; });
  expect_bad(good, [](Rope& r) { r.sin.rows = 4; });
  expect_bad(good, [](Rope& r) { r.tokens = 3; });
}

TEST_F(Check, Attention) {
  const AttentionShape shape{
      .batch = 2, .queries = 3, .keys = 3, .heads = 4, .kv_heads = 2, .head_dim = 2};
  const View q = view(6, 8), k = view(6, 4), v = view(6, 4), out = view(6, 8), lse = view(6, 4);
  using F = AttentionForward;
  const F good{.shape = shape, .q = q, .k = k, .v = v, .out = out, .lse = lse};
  expect_refused(good, {&F::q, &F::k, &F::v, &F::out});
  expect_bad(good, [](F& a) { a.shape.kv_heads = 3; });
  expect_bad(good, [](F& a) { a.shape.queries = 4; });
  expect_bad(good, [](F& a) { a.shape.key_capacity = 2; });
  expect_bad(good, [](F& a) { a.shape.key_capacity = 4; });  // rows of k do not match
  expect_bad(good, [](F& a) { a.lse.cols = 3; });
  using B = AttentionBackward;
  const B back{.shape = shape,
               .dout = view(6, 8),
               .q = q,
               .k = k,
               .v = v,
               .out = out,
               .lse = lse,
               .dq = view(6, 8),
               .dk = view(6, 4),
               .dv = view(6, 4)};
  expect_refused(back, {&B::dout, &B::q, &B::k, &B::v, &B::out, &B::lse, &B::dq, &B::dk, &B::dv});
  expect_bad(back, [](B& a) { a.shape.queries = 2; });
}

TEST_F(Check, Activations) {
  using G = GeluForward;
  expect_refused(G{.x = view(2, 4), .y = view(2, 4)}, {&G::y});
  using D = GeluBackward;
  expect_refused(D{.dy = view(2, 4), .x = view(2, 4), .dx = view(2, 4)}, {&D::dy, &D::dx});
  using S = SwigluForward;
  expect_refused(S{.gate = view(2, 4), .up = view(2, 4), .y = view(2, 4)}, {&S::up, &S::y});
  using T = SwigluBackward;
  const T back{.dy = view(2, 4),
               .gate = view(2, 4),
               .up = view(2, 4),
               .dgate = view(2, 4),
               .dup = view(2, 4)};
  expect_refused(back, {&T::dy, &T::up, &T::dgate, &T::dup});
  expect_bad(back, [](T& a) { a.dup = a.dgate; });
}

TEST_F(Check, CrossEntropyAndAdamW) {
  const std::vector<int32_t> targets = {3, kIgnoreTarget};
  using C = CrossEntropy;
  const C loss{.logits = view(2, 4), .targets = targets, .losses = view(2, 1)};
  expect_refused(loss, {&C::losses});
  expect_bad(loss, [](C& c) { c.logits.cols = 3; });  // target 3
  expect_bad(loss, [](C& c) { c.targets = c.targets.subspan(1); });
  const AdamW good{.p = view(2, 4), .g = view(2, 4), .m = view(2, 4), .v = view(2, 4)};
  expect_refused(good, {&AdamW::g, &AdamW::m, &AdamW::v});
  expect_bad(good, [](AdamW& a) { a.p.stride = 5; });
  expect_bad(good, [](AdamW& a) { a.correction1 = 0; });
}

}  // namespace
}  // namespace isoflop::test
