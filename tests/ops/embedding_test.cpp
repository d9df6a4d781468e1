#include "ops/reference/backend.hpp"
#include "tests/ops/op_case.hpp"

namespace isoflop::test {
namespace {

OpCase embedding(int64_t B, int64_t T, int64_t V, int64_t D, bool positions, int64_t first = 0) {
  OpCase c;
  c.name = fmt::format("embedding_B{}_T{}_V{}_D{}{}{}", B, T, V, D, positions ? "_positions" : "",
                       first ? "_later" : "");
  const int64_t N = B * T, context = first + T + 2;
  const std::vector<int32_t> tokens = random_tokens(N, V);
  c.forward = [=](Backend& backend, Tensors& t) {
    backend.embedding_forward(
        {.tokens = tokens,
         .table = backend.prepare(t.random("table", V, D)),
         .positions = positions ? backend.prepare(t.random("positions", context, D)) : WeightRef{},
         .y = t.output("y", N, D),
         .scale = 1.5,
         .sequence = T,
         .first_position = first});
  };
  if (first == 0)
    c.backward = [=](Backend& backend, Tensors& t) {
      backend.embedding_backward(
          {.dy = t.random("dy", N, D),
           .tokens = tokens,
           .dtable = t.random("dtable", V, D),
           .dpositions = positions ? t.random("dpositions", context, D) : View{},
           .scale = 1.5,
           .sequence = T});
    };
  c.inputs = {"table"};
  if (positions) c.inputs.push_back("positions");
  c.outputs = {"y"};
  c.bound = fp32_bound(std::max(B, N / V));  // rows added into one row of a gradient
  return c;
}

const std::vector<OpCase> kSmall = {embedding(2, 3, 4, 3, true), embedding(1, 5, 3, 2, false)};
const std::vector<OpCase> kAll = {embedding(1, 1, 8, 8, true), embedding(3, 11, 5, 96, true),
                                  embedding(1, 130, 2053, 384, false),
                                  embedding(5, 64, 2, 33, true), embedding(4, 1, 50, 96, true, 7)};

INSTANTIATE_TEST_SUITE_P(Embedding, OpGradient, ::testing::ValuesIn(kSmall), case_name);
INSTANTIATE_TEST_SUITE_P(Embedding, OpParity, ::testing::ValuesIn(kAll), case_name);
INSTANTIATE_TEST_SUITE_P(Embedding, OpThreads, ::testing::ValuesIn(kAll), case_name);

TEST(Embedding, AddsTheRowsItNames) {
  Tensors t(DType::f64);
  const View table = t.random("table", 3, 2), positions = t.random("positions", 4, 2);
  const View y = t.output("y", 4, 2);
  const std::vector<int32_t> tokens = {2, 0, 1, 1};
  const auto backend = make_reference_backend(DType::f64);
  backend->embedding_forward({.tokens = tokens,
                              .table = backend->prepare(table),
                              .positions = backend->prepare(positions),
                              .y = y,
                              .scale = 3,
                              .sequence = 2,
                              .first_position = 1});
  for (int64_t r = 0; r < 4; ++r)
    for (int64_t c = 0; c < 2; ++c)
      EXPECT_DOUBLE_EQ(value_at(y, r, c), 3 * (value_at(table, tokens[static_cast<size_t>(r)], c) +
                                               value_at(positions, 1 + r % 2, c)));
}

}  // namespace
}  // namespace isoflop::test
