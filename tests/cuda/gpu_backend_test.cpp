// What GpuBackend leaves to its device: which of two ways an operation goes, and what a step comes
// to, which the host waits for once.
#include "ops/host_copy.hpp"
#include "pretrain/model/parametrized.hpp"
#include "pretrain/train/random_source.hpp"
#include "pretrain/train/train_step.hpp"
#include "tests/cuda/emulated_device.hpp"
#include "tests/support/compare.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace isoflop::test {
namespace {

/// A hidden layer in and out by `backend`, as in a block.
struct HiddenLayer {
  Tensor x{DType::bf16, 6, 16}, w{DType::f32, 32, 16}, w_out{DType::f32, 16, 32};
  Tensor pre{DType::bf16, 6, 32}, y{DType::bf16, 6, 32}, dy{DType::bf16, 6, 16};
  Tensor dpre{DType::bf16, 6, 32};

  HiddenLayer() {
    for (const Tensor* t : {&x, &w, &w_out, &dy})
      for (int64_t i = 0; i < t->view().size(); ++i) {
        const int64_t cols = t->view().cols;
        set_value(*t, i / cols, i % cols, static_cast<double>((i * 7 + cols) % 13 - 6) / 8);
      }
  }
  void run(Backend& backend, Gelu kind) const {
    backend.matmul_gelu({.x = x.view(),
                         .w = backend.prepare(w.view()),
                         .bias = {},
                         .pre = pre.view(),
                         .y = y.view(),
                         .kind = kind});
    backend.matmul_gelu_grad_input({.dy = dy.view(),
                                    .w = backend.prepare(w_out.view()),
                                    .pre = pre.view(),
                                    .dx = dpre.view(),
                                    .scale = 1,
                                    .kind = kind});
  }
};

TEST(GpuBackend, TakesGeluBehindAProductWhereThatWasFaster) {
  for (const bool fused : {true, false}) {
    const auto backend = make_emulated_gpu(Turns::ascending, fused ? 0 : 1);
    HiddenLayer layer;
    layer.run(*backend, Gelu::tanh);
    const std::string word = fused ? "fused" : "apart";
    EXPECT_NE(backend->choices().find("epilogue:32x6x16 " + word + "\n"), std::string::npos)
        << backend->choices();

    // Told so, a device that would have chosen otherwise gets the same bits.
    const auto told = make_emulated_gpu(Turns::ascending, fused ? 1 : 0);
    told->use_choices(backend->choices());
    HiddenLayer again;
    again.run(*told, Gelu::tanh);
    EXPECT_TRUE(same_bits(again.y.view(), layer.y.view()));
    EXPECT_TRUE(same_bits(again.dpre.view(), layer.dpre.view()));
    EXPECT_EQ(told->choices(), backend->choices());
  }
}

TEST(GpuBackend, LeavesTheErfFormToItsKernel) {
  const auto backend = make_emulated_gpu();
  HiddenLayer layer;
  layer.run(*backend, Gelu::erf);
  EXPECT_EQ(backend->choices().find("epilogue"), std::string::npos) << backend->choices();
}

/// Sums, squares and factor of `gradients`, whose first element is `first`, as the host gets them.
std::vector<double> numbers_of(double first, double loss, double clip) {
  const auto backend = make_emulated_gpu();
  const Tensor wide(DType::f32, 70, 90), tall(DType::f32, 5000, 1), losses(DType::f32, 300, 1);
  const Tensor numbers(DType::f64, 1, 4);
  fill(wide.view(), 0.5);
  fill(tall.view(), -2);
  fill(losses.view(), 0.25);
  fill(numbers.view(), 0);
  set_value(wide, 0, 0, first);
  set_value(losses, 299, 0, loss);
  const View sums = StepNumbers::sums(numbers);
  for (const int64_t slot : {0, 0, 1}) backend->add_sum(losses, sums.columns(slot, 1));
  const View gradients[] = {wide, tall};
  backend->step_numbers({.gradients = gradients, .numbers = numbers, .clip = clip});
  backend->fetch(numbers);
  const View got = backend->fetched();
  return {got.as<double>(), got.as<double>() + got.size()};
}

TEST(GpuBackend, AStepsNumbersStayOnTheDeviceUntilFetched) {
  const double squares = 6299 * 0.25 + 5000 * 4 + 9, loss = 299 * 0.25 + 2;
  const std::vector<double> got = numbers_of(3, 2, 1.5);
  ASSERT_EQ(got.size(), 4u);
  EXPECT_DOUBLE_EQ(got[0], 2 * loss);
  EXPECT_DOUBLE_EQ(got[1], loss);
  EXPECT_DOUBLE_EQ(got[2], squares);
  EXPECT_DOUBLE_EQ(got[3], 1.5 / (std::sqrt(squares) + 1e-6));
  EXPECT_EQ(numbers_of(3, 2, 0)[3], 1) << "no clip";
  EXPECT_EQ(numbers_of(3, 2, 1e6)[3], 1) << "a clip beyond the norm";
  for (const double bad : {std::numeric_limits<double>::infinity(), std::nan("")}) {
    EXPECT_TRUE(std::isnan(numbers_of(bad, 2, 0)[3]));
    EXPECT_TRUE(std::isnan(numbers_of(3, bad, 1.5)[3]));
  }
}

// As ranks do it that share the tensors out; more chunks than threads that add them.
TEST(GpuBackend, TheHostAddsChunksUpAsTheDeviceDoes) {
  const auto backend = make_emulated_gpu();
  const Tensor values(DType::f32, 2000, 3), numbers(DType::f64, 1, 3), chunks(DType::f64, 1, 2000);
  std::vector<View> list;  // of a chunk each
  for (int64_t i = 0; i < 6000; ++i)
    values.view().as<float>()[i] = static_cast<float>((i * 7919) % 1013 - 500) / 1013;
  for (int64_t row = 0; row < 2000; ++row) list.push_back(values.view().slice(row, 1));
  fill(numbers.view(), 0);
  backend->step_numbers({.gradients = list, .numbers = numbers, .clip = 0});
  backend->fetch(numbers);
  const double squares = load_scalar(StepNumbers::squares(backend->fetched()), 0, 0);

  backend->chunk_squares(list, chunks);
  const std::span<const double> all(chunks.view().as<double>(), list.size());
  const std::vector<int64_t> counts(list.size(), 1);
  EXPECT_EQ(backend->sum_chunks(all, counts), squares);
  EXPECT_NE(backend->Backend::sum_chunks(all, counts), squares) << "any order would do";
}

/// A model of a block on an emulated device of its own.
struct Rig {
  RunConfig config;
  BatchPlan plan;
  ParamTable table;
  std::unique_ptr<Backend> backend = make_emulated_gpu();
  std::unique_ptr<TrainStep> step;
  SequenceSource source = random_source(50, 1);

  explicit Rig(double clip = 0.1) {
    config.model.arch = Arch::gpt3;
    config.model.layers = 1;
    config.model.d_model = config.model.d_ff = 32;
    config.model.heads = config.model.kv_heads = 2;
    config.model.head_dim = 16;
    config.model.context = 8;
    config.model.vocabulary = 50;
    config.optimizer.clip = clip;
    plan = {.slots = 2, .micro_batches = 2, .micro_batch = 1, .context = 8};
    table = make_parametrized_table(config);
    step = std::make_unique<TrainStep>(config, plan, table, *backend);
    step->fill_parameters(
        [&](ParamBuffer& parameters) { initialize_parameters(table, 1, parameters); });
  }
  int64_t waits() const {
    return static_cast<gpu::GpuBackend<EmulatedDevice>&>(*backend).device().waits();
  }
  std::vector<std::byte> bytes(const ParamBuffer& there) const {
    return read_on_host(*backend, there, [](const ParamBuffer& here) {
      return std::vector<std::byte>(static_cast<std::byte*>(here.flat().data),
                                    static_cast<std::byte*>(here.flat().data) + here.bytes());
    });
  }
};

TEST(GpuStep, TheHostWaitsOnce) {
  Rig rig;
  const StepResult first = rig.step->run(0, 1e-3, rig.source);
  EXPECT_TRUE(first.finite());
  EXPECT_FALSE(first.skipped);
  const int64_t before = rig.waits();
  rig.step->run(1, 1e-3, rig.source);
  EXPECT_EQ(rig.waits() - before, 1);
  EXPECT_EQ(rig.step->updates, 2);
}

TEST(GpuStep, TheDevicesClipIsTheHosts) {
  Rig ahead, behind;
  for (int64_t step = 0; step < 3; ++step) {
    const StepResult a = ahead.step->run(step, 1e-2, ahead.source);
    const StepResult b = behind.step->compute(step, behind.source);
    behind.step->apply(1e-2, b);
    EXPECT_EQ(a.loss, b.loss);
    EXPECT_EQ(a.grad_norm, b.grad_norm);
    EXPECT_GT(a.grad_norm, 0.1) << "nothing to clip";
  }
  EXPECT_EQ(ahead.bytes(ahead.step->parameters), behind.bytes(behind.step->parameters));
  EXPECT_EQ(ahead.bytes(ahead.step->optimizer.m), behind.bytes(behind.step->optimizer.m));
}

TEST(GpuStep, WhatIsNotFiniteChangesNothing) {
  Rig rig;
  rig.step->run(0, 1e-2, rig.source);
  rig.step->fill_parameters([&](ParamBuffer& parameters) {
    initialize_parameters(rig.table, 1, parameters);
    const int bias = find_param(rig.table, "norm.bias");
    set_value(parameters[static_cast<size_t>(bias)], 0, 3, std::numeric_limits<double>::infinity());
  });
  const auto parameters = rig.bytes(rig.step->parameters);
  const auto moments = rig.bytes(rig.step->optimizer.v);
  const StepResult result = rig.step->run(1, 1e-2, rig.source);
  EXPECT_TRUE(result.skipped);
  EXPECT_EQ(rig.step->updates, 1);
  EXPECT_EQ(rig.bytes(rig.step->parameters), parameters);
  EXPECT_EQ(rig.bytes(rig.step->optimizer.v), moments);
}

}  // namespace
}  // namespace isoflop::test
