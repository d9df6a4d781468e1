// The step: nothing is allocated in it, slots are added in a fixed tree, clipping and decay reach
// what they should, and values that are not finite change nothing.
#include "pretrain/train/train_step.hpp"

#include "core/rng.hpp"
#include "core/threads.hpp"
#include "cpu/backend.hpp"
#include "pretrain/model/parametrized.hpp"
#include "tests/support/allocation_count.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace isoflop {
namespace {

RunConfig tiny_run(Arch arch) {
  RunConfig c;
  c.model.arch = arch;
  c.model.layers = 2;
  c.model.d_model = 32;
  c.model.heads = 2;
  c.model.kv_heads = arch == Arch::llama ? 1 : 2;
  c.model.rotary_fraction = arch == Arch::llama ? 1 : 0;
  c.model.head_dim = 16;
  c.model.d_ff = 64;
  c.model.context = 24;
  c.model.vocabulary = 100;
  return c;
}

const SequenceSource kRandomTokens = [](uint64_t sequence, std::span<int32_t> window) {
  for (size_t i = 0; i < window.size(); ++i)
    window[i] = static_cast<int32_t>(philox(3, sequence, i)[0] % 100);
};

/// One run of `steps` steps on its own backend.
struct Rig {
  RunConfig config;
  ParamTable table;
  ThreadTeam team;
  std::unique_ptr<Backend> backend;
  TrainStep step;
  Rig(const RunConfig& c, const BatchPlan& plan, int threads = 2)
      : config(c),
        table(make_parametrized_table(c)),
        team(threads),
        backend(make_cpu_backend(team)),
        step(config, plan, table, *backend) {
    initialize_parameters(table, 1, step.parameters);
    step.refresh_weights();
  }
  StepResult run(int64_t steps, double rate = 1e-3) {
    StepResult result;
    for (int64_t i = 0; i < steps; ++i) result = step.run(i, rate, kRandomTokens);
    return result;
  }
  bool same_parameters(const Rig& other) const {
    return std::memcmp(step.parameters.flat().data, other.step.parameters.flat().data,
                       step.parameters.bytes()) == 0;
  }
};

TEST(TrainStep, TenStepsAllocateNothing) {
  for (const Arch arch : {Arch::gpt3, Arch::llama}) {
    RunConfig config = tiny_run(arch);
    if (arch == Arch::llama) config.optimizer.kind = "muon";
    Rig rig(config, {.slots = 3, .micro_batches = 2, .micro_batch = 2, .context = 24});
    rig.run(1);  // the library makes its primitives on first sight of a shape
    const int64_t before = test::allocation_count();
    rig.run(10);
    EXPECT_EQ(test::allocation_count() - before, 0);
  }
}

TEST(TrainStep, BitsDoNotDependOnThreads) {
  const BatchPlan plan{.slots = 3, .micro_batches = 1, .micro_batch = 2, .context = 24};
  for (const char* optimizer : {"adamw", "bf16", "muon"}) {
    RunConfig config = tiny_run(Arch::llama);
    (optimizer == std::string("bf16") ? config.optimizer.state : config.optimizer.kind) = optimizer;
    Rig one(config, plan, 1);
    const double loss = one.run(5).loss;
    for (const int threads : {2, 3}) {
      Rig more(config, plan, threads);
      EXPECT_EQ(more.run(5).loss, loss);
      EXPECT_TRUE(more.same_parameters(one)) << threads;
    }
  }
}

// Two steps of one micro-batch a slot, one of two, then three: each is the step of a run that is
// cut so from the start, on the sequences that follow.
TEST(TrainStep, AGrowingBatchTakesTheStepsOfRunsOfEachSize) {
  BatchPlan plan{.slots = 3, .micro_batches = 3, .micro_batch = 2, .context = 24};
  plan.ramp = {{0, 1, 0}, {2, 2, 12}, {3, 3, 24}};
  Rig growing(tiny_run(Arch::gpt3), plan);
  int64_t sequence = 0;
  for (int64_t i = 0; i < 5; ++i) {
    const int64_t micro = i < 2 ? 1 : i == 2 ? 2 : 3;
    Rig fixed(tiny_run(Arch::gpt3),
              {.slots = 3, .micro_batches = micro, .micro_batch = 2, .context = 24});
    std::memcpy(fixed.step.parameters.flat().data, growing.step.parameters.flat().data,
                fixed.step.parameters.bytes());
    fixed.step.refresh_weights();
    const StepResult want = fixed.step.compute(0, [&](uint64_t s, std::span<int32_t> window) {
      kRandomTokens(s + static_cast<uint64_t>(sequence), window);
    });
    const StepResult got = growing.step.run(i, 1e-3, kRandomTokens);
    EXPECT_EQ(got.loss, want.loss) << i;
    EXPECT_EQ(got.grad_norm, want.grad_norm) << i;
    sequence += 3 * micro * 2;
  }
}

TEST(TrainStep, SlotsAreTheSameSumInAnotherOrder) {
  Rig whole(tiny_run(Arch::gpt3),
            {.slots = 1, .micro_batches = 1, .micro_batch = 6, .context = 24});
  Rig cut(tiny_run(Arch::gpt3), {.slots = 6, .micro_batches = 1, .micro_batch = 1, .context = 24});
  const StepResult a = whole.run(1), b = cut.run(1);
  EXPECT_NEAR(a.loss, b.loss, 1e-6 * a.loss);
  EXPECT_NEAR(a.grad_norm, b.grad_norm, 1e-5 * a.grad_norm);  // fp32 sums in another order
}

TEST(TrainStep, VectorsAreNotDecayed) {
  RunConfig config = tiny_run(Arch::gpt3);
  config.optimizer.weight_decay = 0.5;
  RunConfig plain = config;
  plain.optimizer.weight_decay = 0;
  const BatchPlan plan{.slots = 1, .micro_batches = 1, .micro_batch = 2, .context = 24};
  Rig with(config, plan), without(plain, plan);
  with.run(1);
  without.run(1);
  for (size_t i = 0; i < with.table.size(); ++i) {
    const View a = with.step.parameters[i], b = without.step.parameters[i];
    EXPECT_EQ(std::memcmp(a.data, b.data, a.bytes()) == 0, with.table[i].is_vector())
        << with.table[i].name;
  }
}

TEST(TrainStep, ValuesThatAreNotFiniteSkipTheUpdate) {
  Rig rig(tiny_run(Arch::gpt3), {.slots = 1, .micro_batches = 1, .micro_batch = 2, .context = 24});
  rig.run(1);
  const int norm = find_param(rig.table, "norm.weight");
  rig.step.parameters[static_cast<size_t>(norm)].as<float>()[3] =
      std::numeric_limits<float>::quiet_NaN();
  ParamBuffer before(rig.table, DType::f32, "copy");
  std::memcpy(before.flat().data, rig.step.parameters.flat().data, before.bytes());
  const StepResult result = rig.step.run(1, 1e-3, kRandomTokens);
  EXPECT_TRUE(result.skipped);
  EXPECT_EQ(rig.step.updates, 1);
  EXPECT_EQ(std::memcmp(before.flat().data, rig.step.parameters.flat().data, before.bytes()), 0);
}

TEST(TrainStep, ClipFactorIsTheFormula) {
  EXPECT_DOUBLE_EQ(clip_factor(0.5, 1.0), 1.0);
  EXPECT_DOUBLE_EQ(clip_factor(4.0, 1.0), 1.0 / (4.0 + 1e-6));
  EXPECT_DOUBLE_EQ(clip_factor(4.0, 0.0), 1.0);
}

// Kingma and Ba 2015, algorithm 1 with decoupled decay, two updates of one weight in double.
TEST(Optimizer, MomentsAreCorrectedByTheUpdatesDone) {
  ParamSpec spec;
  spec.name = "w";
  spec.cols = 1;
  const ParamTable table = {spec};
  ThreadTeam team(1);
  const auto backend = make_cpu_backend(team);
  OptimizerConfig config;
  config.beta1 = 0.9;
  config.beta2 = 0.95;
  Optimizer optimizer(table, config, *backend);
  ParamBuffer parameters(table, DType::f32, "p"), gradients(table, DType::f32, "g");
  double p = 0.5, m = 0, v = 0;
  parameters[0].as<float>()[0] = 0.5f;
  for (int t = 1; t <= 2; ++t) {
    const double g = t == 1 ? 0.25 : -2;
    gradients[0].as<float>()[0] = static_cast<float>(g);
    optimizer.update(parameters, gradients, 0.1, 1, t - 1);
    m = 0.9 * m + 0.1 * g;
    v = 0.95 * v + 0.05 * g * g;
    p -= 0.1 * (m / (1 - std::pow(0.9, t))) / (std::sqrt(v / (1 - std::pow(0.95, t))) + config.eps);
    EXPECT_NEAR(parameters[0].as<float>()[0], p, 1e-6) << "update " << t;  // fp32
  }
}

// A second moment of 1 that goes to 1.01: bf16 has no number between 1 and 1.0078, and a step of
// the average moves it by 0.0005 at most. Rounded to the nearest it would stay where it is; rounded
// at random, the mean over 4,096 of them follows what fp32 does within a few deviations of the
// mean: each update adds at most a variance of (2^-7)^2 / 4, of which 0.95^2 is left after another.
TEST(Optimizer, MomentsInBf16FollowTheirMeans) {
  ParamSpec spec;
  spec.name = "w";
  spec.rows = 64;
  spec.cols = 64;
  const ParamTable table = {spec};
  ThreadTeam team(1);
  const auto backend = make_cpu_backend(team);
  OptimizerConfig config;
  config.beta1 = 0.9;
  config.beta2 = 0.95;
  config.state = "bf16";
  Optimizer optimizer(table, config, *backend);
  ParamBuffer parameters(table, DType::f32, "p"), gradients(table, DType::f32, "g");
  const auto mean = [](View view) {
    double sum = 0;
    for (int64_t i = 0; i < view.size(); ++i) sum += to_float(view.as<bf16>()[i]);
    return sum / static_cast<double>(view.size());
  };
  for (int64_t i = 0; i < spec.size(); ++i) optimizer.v[0].as<bf16>()[i] = to_bf16(1);
  std::fill_n(gradients[0].as<float>(), spec.size(), std::sqrt(1.01f));
  double m = 0, v = 1;
  for (int64_t t = 0; t < 100; ++t) {
    optimizer.update(parameters, gradients, 0.1, 1, t);
    m = 0.9 * m + 0.1 * std::sqrt(1.01);
    v = 0.95 * v + 0.05 * 1.01;
  }
  const double deviation = 0x1p-8 / std::sqrt((1 - 0.95 * 0.95) * 4096.0);
  EXPECT_NEAR(mean(optimizer.v[0]), v, 5 * deviation);
  EXPECT_GT(v - 1, 20 * deviation) << "staying at 1 must be told apart";
  EXPECT_NEAR(mean(optimizer.m[0]), m, 5 * deviation);
}

// What the matrix gets as a table and as a head, which are two parameters in an untied twin.
TEST(TrainStep, ATiedMatrixGetsBothGradients) {
  for (const Arch arch : {Arch::gpt3, Arch::llama}) {
    RunConfig config = tiny_run(arch);
    config.model.tied_embeddings = true;
    RunConfig twin = config;
    twin.model.tied_embeddings = false;
    const BatchPlan plan{.slots = 2, .micro_batches = 1, .micro_batch = 2, .context = 24};
    Rig tied(config, plan), untied(twin, plan);
    for (size_t i = 0; i < untied.table.size(); ++i) {
      const std::string& name = untied.table[i].name;
      const int same = find_param(tied.table, name == "head.weight" ? "embedding.weight" : name);
      const View from = tied.step.parameters[static_cast<size_t>(same)];
      std::memcpy(untied.step.parameters[i].data, from.data, from.bytes());
    }
    untied.step.refresh_weights();
    EXPECT_EQ(tied.step.compute(0, kRandomTokens).loss, untied.step.compute(0, kRandomTokens).loss);
    const auto gradient = [](Rig& rig, const char* name) {
      return rig.step.gradients()[static_cast<size_t>(find_param(rig.table, name))];
    };
    const View both = gradient(tied, "embedding.weight");
    const View table = gradient(untied, "embedding.weight"), head = gradient(untied, "head.weight");
    for (int64_t k = 0; k < both.size(); ++k)
      ASSERT_EQ(both.as<float>()[k], table.as<float>()[k] + head.as<float>()[k]) << k;
  }
}

// Forward and backward read the grid; the masters move by the gradients found there.
TEST(TrainStep, OnTheGridTheGradientPassesStraightThrough) {
  for (const Arch arch : {Arch::gpt3, Arch::pythia, Arch::llama}) {
    RunConfig config = tiny_run(arch);
    if (arch == Arch::pythia) config.model.rotary_fraction = 0.25;
    config.model.residual_multiplier = 0.3;
    config.model.attention_multiplier = 0.7;
    RunConfig quantized = config;
    quantized.schedule.quantize = "q4_0";
    const BatchPlan plan{.slots = 2, .micro_batches = 1, .micro_batch = 2, .context = 24};
    Rig plain(config, plan), grid(quantized, plan);
    EXPECT_EQ(grid.step.compute(0, kRandomTokens).loss, plain.step.compute(0, kRandomTokens).loss);
    grid.step.quantize(true);
    EXPECT_TRUE(grid.same_parameters(plain)) << "the masters stay";
    WeightGrid(*find_grid_recipe("q4_0"), config.model, plain.table)
        .round(plain.step.parameters, plain.team);
    plain.step.refresh_weights();
    EXPECT_FALSE(grid.same_parameters(plain));
    EXPECT_EQ(std::memcmp(grid.step.weights().flat().data, plain.step.parameters.flat().data,
                          plain.step.parameters.bytes()),
              0);
    const StepResult a = grid.step.compute(0, kRandomTokens);
    const StepResult b = plain.step.compute(0, kRandomTokens);
    EXPECT_EQ(a.loss, b.loss);
    EXPECT_EQ(std::memcmp(grid.step.gradients().flat().data, plain.step.gradients().flat().data,
                          grid.step.gradients().bytes()),
              0);
    grid.step.apply(1e-3, a);
    const int64_t before = test::allocation_count();
    grid.step.run(1, 1e-3, kRandomTokens);
    EXPECT_EQ(test::allocation_count() - before, 0);
    grid.step.quantize(false);
    EXPECT_EQ(std::memcmp(grid.step.weights().flat().data, grid.step.parameters.flat().data,
                          grid.step.parameters.bytes()),
              0);
  }
}

TEST(GradientTree, SplitsAtTheLargestPowerOfTwoWhateverTheSlots) {
  ParamSpec spec;
  spec.name = "w";
  spec.cols = 1;
  const ParamTable table = {spec};
  ThreadTeam team(1);
  const auto backend = make_cpu_backend(team);
  for (int64_t slots = 1; slots <= 13; ++slots) {
    GradientTree tree(table, *backend, slots);
    std::vector<float> leaves;
    for (int64_t i = 0; i < slots; ++i) {
      leaves.push_back(
          static_cast<float>(normal01(1, 1, static_cast<uint64_t>(i)) * std::pow(10.0, i % 5)));
      tree.open()[0].as<float>()[0] = leaves.back();
      tree.close();
    }
    const std::function<float(size_t, size_t)> sum = [&](size_t first, size_t count) -> float {
      if (count == 1) return leaves[first];
      size_t half = 1;
      while (half * 2 < count) half *= 2;
      return sum(first, half) + sum(first + half, count - half);
    };
    EXPECT_EQ(tree.finish()[0].as<float>()[0], sum(0, leaves.size())) << slots;
  }
  EXPECT_EQ(GradientTree::buffers_for(1), 1);
  EXPECT_EQ(GradientTree::buffers_for(8), 4);
}

}  // namespace
}  // namespace isoflop
