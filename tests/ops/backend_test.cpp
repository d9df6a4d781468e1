// What belongs to no family: zero, copy, add, refresh, empty inputs, and refusals.
#include "cpu/backend.hpp"

#include "ops/check.hpp"
#include "ops/reference/backend.hpp"
#include "tests/ops/op_case.hpp"

#include <gtest/gtest.h>

namespace isoflop::test {
namespace {

OpCase zero_copy_add(int64_t rows, int64_t cols) {
  OpCase c;
  c.name = fmt::format("zero_copy_add_{}x{}", rows, cols);
  c.forward = [=](Backend& backend, Tensors& t) {
    const View from = t.random("from", rows, cols + 4).columns(1, cols);
    backend.copy(from, t.output("copied", rows, cols + 2).columns(2, cols));
    backend.add(from, t.random("sum", rows, cols + 1).columns(0, cols));
    backend.zero(t.output("zeroed", rows, cols + 3).columns(2, cols));
    backend.zero(t.output("all_zeroed", rows, cols));
  };
  c.bound = fp32_bound(1);
  return c;
}
const std::vector<OpCase> kAll = {zero_copy_add(1, 1), zero_copy_add(7, 96),
                                  zero_copy_add(33, 2053)};
INSTANTIATE_TEST_SUITE_P(Plain, OpParity, ::testing::ValuesIn(kAll), case_name);
INSTANTIATE_TEST_SUITE_P(Plain, OpThreads, ::testing::ValuesIn(kAll), case_name);

TEST(Backend, ZeroWritesZeroes) {
  Tensors t(DType::f64);
  make_reference_backend(DType::f64)->zero(t.output("x", 2, 3));
  for (int64_t i = 0; i < 6; ++i) EXPECT_EQ(value_at(t["x"], i / 3, i % 3), 0);
}

class EachBackend : public ::testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<Backend> make() {
    if (GetParam() == "cpu") return make_cpu_backend(team_);
    if (GetParam() == "cpu_bf16") return make_cpu_backend(team_, DType::bf16);
    if (GetParam() == "reference_f32") return make_reference_backend(DType::f32);
    if (GetParam() == "reference_f64") return make_reference_backend(DType::f64);
    return make_reference_backend(DType::c128);
  }
  ThreadTeam team_{2};
};

TEST_P(EachBackend, RefreshSeesTheNewMaster) {
  const auto backend = make();
  Tensors t(backend->activation_dtype());
  const View x = t.random("x", 3, 16), w = t.random("w", 8, 16), other = t.random("other", 8, 16);
  std::vector<WeightRef> handles;
  for (int i = 0; i < 100; ++i) handles.push_back(backend->prepare(w));
  const auto use = [&](WeightRef handle, const std::string& name) {
    const View y = t.output(name, 3, 8);
    backend->matmul({.x = x, .w = handle, .bias = {}, .add = {}, .y = y});
    backend->matmul_grad_input({.dy = y, .w = handle, .dx = t.output(name + "_back", 3, 16)});
  };
  use(handles[0], "before");
  backend->copy(other, w);
  backend->refresh(handles[0]);
  use(handles[0], "y");
  use(backend->prepare(other), "want");
  EXPECT_FALSE(same_bits(t["before"], t["want"]));
  EXPECT_TRUE(same_bits(t["y"], t["want"]));
  EXPECT_TRUE(same_bits(t["y_back"], t["want_back"]));
}

TEST_P(EachBackend, NamesItself) {
  const auto backend = make();
  EXPECT_FALSE(backend->description().empty());
  EXPECT_EQ(state_dtype_of(backend->activation_dtype()), backend->state_dtype());
}

TEST_P(EachBackend, RefusesWhatDoesNotFit) {
  const auto backend = make();
  Tensors t(backend->activation_dtype());
  const View x = t.random("x", 3, 16), y = t.output("y", 3, 8);
  const WeightRef w = backend->prepare(t.random("w", 8, 16));
  const Matmul good{.x = x, .w = w, .bias = {}, .add = {}, .y = y};
  EXPECT_NO_THROW(backend->matmul(good));
  Matmul bad = good;
  bad.x = x.columns(0, 15);
  EXPECT_THROW(backend->matmul(bad), std::logic_error);
  bad = good;
  bad.bias = x.slice(0, 1);
  EXPECT_THROW(backend->matmul(bad), std::logic_error);
  bad = good;
  bad.w.handle = nullptr;
  EXPECT_THROW(backend->matmul(bad), std::logic_error);
  bad = good;
  bad.y.dtype = DType::f16;
  EXPECT_THROW(backend->matmul(bad), std::logic_error);

  const std::vector<int32_t> tokens = {0, 7, 8};  // 8 is past the table
  EXPECT_THROW(backend->embedding_forward(
                   {.tokens = tokens, .table = w, .positions = {}, .y = x, .sequence = 3}),
               std::logic_error);
  const std::vector<int32_t> targets = {0, -2, 7};
  EXPECT_THROW(
      backend->cross_entropy(
          {.logits = y, .targets = targets, .losses = t.output("losses", 3, 1), .grad_scale = 1}),
      std::logic_error);
  EXPECT_THROW(backend->copy(x, y), std::logic_error);
}

INSTANTIATE_TEST_SUITE_P(
    Backends,
    EachBackend,
    ::testing::Values("reference_f32", "reference_f64", "reference_c128", "cpu", "cpu_bf16"),
    [](const auto& param) { return param.param; });

}  // namespace
}  // namespace isoflop::test
