#include "ops/reference/backend.hpp"
#include "tests/ops/op_case.hpp"

#include <cmath>

namespace isoflop::test {
namespace {

OpCase cross_entropy(int64_t n, int64_t V, double spread = 1, double z_loss = 0, double cap = 0) {
  OpCase c;
  c.name = fmt::format("cross_entropy_{}x{}{}{}{}", n, V, spread != 1 ? "_wide" : "",
                       z_loss > 0 ? "_z" : "", cap > 0 ? "_capped" : "");
  std::vector<int32_t> targets = random_tokens(n, V);
  for (size_t i = 1; i < targets.size(); i += 4) targets[i] = kIgnoreTarget;
  constexpr double kGradScale = 0.125;
  c.forward = [=](Backend& backend, Tensors& t) {
    const View logits = t.random("logits", n, V, spread);
    const View capped = t.output("capped", n, V), work = t.output("work", n, V);
    backend.copy(logits, capped);
    if (cap > 0) backend.softcap({.x = capped, .cap = cap});
    backend.copy(capped, work);
    backend.cross_entropy({.logits = work,
                           .targets = targets,
                           .losses = t.output("losses", n, 1),
                           .grad_scale = 0,
                           .z_loss = z_loss,
                           .softcap = cap});
    EXPECT_TRUE(same_bits(work, capped)) << "without grad_scale the logits stay";
    t.constant("dlosses", n, 1, kGradScale);
  };
  c.backward = [=](Backend& backend, Tensors& t) {
    const View dlogits = t.output("dlogits", n, V);
    backend.copy(t["capped"], dlogits);
    backend.cross_entropy({.logits = dlogits,
                           .targets = targets,
                           .losses = t.output("losses_again", n, 1),
                           .grad_scale = kGradScale,
                           .z_loss = z_loss,
                           .softcap = cap});
  };
  c.inputs = {"logits"};
  c.outputs = {"losses"};
  // The rounding of a logit of size |x| is its relative error in exp.
  c.bound = fp32_bound(V) * (1 + 5 * spread);
  // A capped logit is rounded by 2^-8 of itself, and the largest loss is of the cap's size.
  if (cap > 0) c.bf16_state_bound = 0x1p-8;
  return c;
}

const std::vector<OpCase> kSmall = {cross_entropy(1, 5),          cross_entropy(6, 7),
                                    cross_entropy(3, 4, 10),      cross_entropy(3, 5, 1, 0.1),
                                    cross_entropy(3, 5, 4, 0, 3), cross_entropy(6, 7, 4, 0.1, 3)};
const std::vector<OpCase> kAll = {cross_entropy(1, 8),
                                  cross_entropy(7, 96),
                                  cross_entropy(33, 384),
                                  cross_entropy(7, 2053),
                                  cross_entropy(2, 8197),
                                  cross_entropy(33, 257, 20),
                                  cross_entropy(7, 2053, 1, 1e-2),
                                  cross_entropy(7, 2053, 9, 0, 5),
                                  cross_entropy(33, 257, 20, 1e-2, 30)};

INSTANTIATE_TEST_SUITE_P(CrossEntropy, OpGradient, ::testing::ValuesIn(kSmall), case_name);
INSTANTIATE_TEST_SUITE_P(CrossEntropy, OpParity, ::testing::ValuesIn(kAll), case_name);
INSTANTIATE_TEST_SUITE_P(CrossEntropy, OpThreads, ::testing::ValuesIn(kAll), case_name);

TEST(CrossEntropy, UniformLogitsCostLogV) {
  const std::vector<int32_t> targets = {3, kIgnoreTarget};
  for (const double level : {0.0, -30000.0, 30000.0}) {
    Tensors t(DType::f64);
    const View logits = t.constant("logits", 2, 10, level);
    make_reference_backend(DType::f64)
        ->cross_entropy({.logits = logits,
                         .targets = targets,
                         .losses = t.output("losses", 2, 1),
                         .grad_scale = 2});
    EXPECT_NEAR(value_at(t["losses"], 0, 0), std::log(10.0), 1e-11) << level;
    EXPECT_EQ(value_at(t["losses"], 1, 0), 0);
    for (int64_t c = 0; c < 10; ++c) {
      EXPECT_NEAR(value_at(logits, 0, c), c == 3 ? 2 * (0.1 - 1) : 2 * 0.1, 1e-15);
      EXPECT_EQ(value_at(logits, 1, c), 0) << "an ignored target has no gradient";
    }
  }
}

}  // namespace
}  // namespace isoflop::test
