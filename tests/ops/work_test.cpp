// What operations are counted as, by hand.
#include "ops/work.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace isoflop {
namespace {

std::vector<float> memory(64);
View view(int64_t rows, int64_t cols) {
  return make_view(memory.data(), rows, cols);
}

TEST(OpWork, AProductIsTwoPerMultiplyAdd) {
  const WeightRef w{3, 4, memory.data()};
  const OpWork forward =
      work_of(Matmul{.x = view(5, 4), .w = w, .bias = view(1, 3), .add = {}, .y = view(5, 3)});
  EXPECT_EQ(forward.flops, 2 * 5 * 3 * 4);
  EXPECT_EQ(forward.bytes, 4 * (20 + 12 + 3 + 15));
  EXPECT_EQ(work_of(MatmulGradInput{.dy = view(5, 3), .w = w, .dx = view(5, 4)}).flops, 120);
  const OpWork weight =
      work_of(MatmulGradWeight{.dy = view(5, 3), .x = view(5, 4), .dw = view(3, 4), .dbias = {}});
  EXPECT_EQ(weight.flops, 120);
  EXPECT_EQ(weight.bytes, 4 * (15 + 20 + 2 * 12));  // adds to the gradient
  const OpWork hidden =
      work_of(MatmulGelu{.x = view(5, 4), .w = w, .bias = {}, .pre = view(5, 3), .y = view(5, 3)});
  EXPECT_EQ(hidden.flops, 120);
  EXPECT_EQ(hidden.bytes, 4 * (20 + 12 + 2 * 15));
  const OpWork back =
      work_of(MatmulGeluGradInput{.dy = view(5, 3), .w = w, .pre = view(5, 4), .dx = view(5, 4)});
  EXPECT_EQ(back.flops, 120);
  EXPECT_EQ(back.bytes, 4 * (15 + 12 + 2 * 20));
}

TEST(OpWork, AttentionCountsWhatTheCausalMaskLeaves) {
  const AttentionShape shape{
      .batch = 2, .queries = 4, .keys = 4, .heads = 6, .kv_heads = 3, .head_dim = 8};
  AttentionForward forward{};
  AttentionBackward backward{};
  forward.shape = backward.shape = shape;
  // 1 + 2 + 3 + 4 pairs; two products forward, five backward.
  EXPECT_EQ(work_of(forward).flops, 2 * 2 * 10 * 2 * 6 * 8);
  EXPECT_EQ(work_of(backward).flops, 5 * 2 * 10 * 2 * 6 * 8);
  forward.shape.queries = 1;  // decoding: one query sees all keys
  EXPECT_EQ(work_of(forward).flops, 2 * 2 * 4 * 2 * 6 * 8);
}

TEST(OpWork, TheRestIsBytes) {
  EXPECT_EQ(work_of(GeluForward{.x = view(2, 3), .y = view(2, 3)}).bytes, 4 * 12);
  EXPECT_EQ(work_of(CrossEntropy{.logits = view(2, 5), .targets = {}, .losses = view(2, 1)}).bytes,
            4 * (10 + 2));
  EXPECT_EQ(
      work_of(AdamW{.p = view(1, 9), .g = view(1, 9), .m = view(1, 9), .v = view(1, 9)}).bytes,
      4 * 7 * 9);
  EXPECT_EQ(
      work_of(Rope{.x = view(2, 16), .cos = {}, .sin = {}, .head_dim = 8, .rotary_dim = 4}).bytes,
      4 * 2 * 16);
}

}  // namespace
}  // namespace isoflop
