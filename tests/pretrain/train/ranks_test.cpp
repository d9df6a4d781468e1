// A step over several ranks is the step of one rank, bit for bit. CTest starts this under mpirun
// (tests/CMakeLists.txt); every rank trains alone as well and compares its share.
#include "tests/pretrain/train/ranks_rig.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace isoflop {
namespace {

using namespace test;

/// Everything that a checkpoint would hold.
void expect_same(Rig& alone, Rig& shared) {
  shared.step.settle();
  for (size_t i = 0; i < alone.table.size(); ++i) {
    const View held = shared.step.parameters[i];
    EXPECT_EQ(bool(held), shared.step.sharding().in_stage(i) || shared.has_copy(i));
    EXPECT_TRUE(!held || same(alone.step.parameters[i], held)) << alone.table[i].name;
    const RowRange rows = shared.step.sharding().rows(i);
    if (rows.count == 0) continue;
    EXPECT_TRUE(same(rows_of(alone.step.optimizer.m[i], rows), shared.step.optimizer.m[i])) << i;
    if (!alone.table[i].has_second_moment()) continue;
    EXPECT_TRUE(same(rows_of(alone.step.optimizer.v[i], rows), shared.step.optimizer.v[i])) << i;
  }
}

void expect_same_steps(const RunConfig& config, const BatchPlan& plan, DType activation) {
  Rig alone(config, plan, activation, nullptr), shared(config, plan, activation, &ranks());
  for (int64_t step = 0; step < 4; ++step) {
    const StepResult a = alone.step.run(step, 1e-2, kRandomTokens);
    const StepResult b = shared.step.run(step, 1e-2, kRandomTokens);
    ASSERT_EQ(a.loss, b.loss) << step;
    ASSERT_EQ(a.grad_norm, b.grad_norm) << step;
    EXPECT_GT(a.grad_norm, config.optimizer.clip);
  }
  expect_same(alone, shared);
}

/// Stages that the ranks can make, more than one; of tiny_run's blocks twice.
std::vector<int> pipelines() {
  std::vector<int> some;
  for (const int pp : {2, 4})
    if (ranks().size() % pp == 0) some.push_back(pp);
  return some;
}
RunConfig staged(RunConfig config, int pp) {
  config.model.layers = 4;
  config.parallel.pp = pp;
  return config;
}

TEST(Ranks, TakeTheStepOfOneWithUnevenSlots) {
  for (const int64_t slots : {8, 11})
    for (const bool tied : {true, false})
      expect_same_steps(tiny_run(Arch::gpt3, tied),
                        {.slots = slots, .micro_batches = 2, .micro_batch = 1, .context = 16},
                        DType::f32);
}

TEST(Ranks, TakeTheStepOfOneInEveryArchitecture) {
  for (const Arch arch : {Arch::gpt3, Arch::pythia, Arch::llama})
    expect_same_steps(tiny_run(arch, false),
                      {.slots = 8, .micro_batches = 1, .micro_batch = 2, .context = 16},
                      DType::f32);
}

TEST(Ranks, TakeTheStepOfOneInBf16) {
  expect_same_steps(tiny_run(Arch::llama, true),
                    {.slots = 8, .micro_batches = 1, .micro_batch = 2, .context = 16}, DType::bf16);
}

TEST(Ranks, TakeTheStepOfOneWithMomentsInBf16) {
  RunConfig config = tiny_run(Arch::llama, true);
  config.optimizer.state = "bf16";
  const BatchPlan plan{.slots = 8, .micro_batches = 1, .micro_batch = 2, .context = 16};
  expect_same_steps(config, plan, DType::f32);
  for (const int pp : pipelines()) expect_same_steps(staged(config, pp), plan, DType::f32);
}

TEST(Ranks, TakeTheStepOfOneWhileTheBatchGrows) {
  BatchPlan plan{.slots = 8, .micro_batches = 3, .micro_batch = 1, .context = 16};
  plan.ramp = {{0, 1, 0}, {1, 2, 8}, {3, 3, 40}};
  expect_same_steps(tiny_run(Arch::gpt3, true), plan, DType::f32);
  for (const int pp : pipelines())
    expect_same_steps(staged(tiny_run(Arch::llama, false), pp), plan, DType::f32);
}

TEST(Ranks, TakeTheStepOfOneWithMuon) {
  for (const Arch arch : {Arch::gpt3, Arch::llama}) {
    RunConfig config = tiny_run(arch, true);
    config.optimizer.kind = "muon";
    expect_same_steps(config, {.slots = 8, .micro_batches = 1, .micro_batch = 1, .context = 16},
                      DType::f32);
  }
}

TEST(Ranks, TakeTheStepOfOneWhateverIsRecomputed) {
  for (const char* level : {"cheap", "ffn", "block"}) {
    RunConfig config = tiny_run(Arch::gpt3, true);
    config.compute.recompute = level;
    expect_same_steps(config, {.slots = 8, .micro_batches = 1, .micro_batch = 1, .context = 16},
                      DType::f32);
  }
}

TEST(Ranks, TakeTheStepOfOneAsStagesOfAPipeline) {
  for (const int pp : pipelines()) {
    for (const bool tied : {true, false})
      expect_same_steps(staged(tiny_run(Arch::gpt3, tied), pp),
                        {.slots = 11, .micro_batches = 2, .micro_batch = 1, .context = 16},
                        DType::f32);
    expect_same_steps(staged(tiny_run(Arch::pythia, false), pp),
                      {.slots = 8, .micro_batches = 1, .micro_batch = 2, .context = 16},
                      DType::f32);
    RunConfig recomputed = staged(tiny_run(Arch::llama, true), pp);
    recomputed.compute.recompute = "block";
    recomputed.model.document_mask = true;
    recomputed.model.separator = 5;
    recomputed.model.z_loss = 1e-3;
    expect_same_steps(recomputed, {.slots = 8, .micro_batches = 2, .micro_batch = 1, .context = 16},
                      DType::bf16);
  }
}

TEST(Ranks, ScoreAndShowAllParametersAsStagesOfAPipeline) {
  const BatchPlan plan{.slots = 8, .micro_batches = 1, .micro_batch = 2, .context = 16};
  for (const int pp : pipelines()) {
    const RunConfig config = staged(tiny_run(Arch::llama, true), pp);
    Rig alone(config, plan, DType::f32, nullptr), shared(config, plan, DType::f32, &ranks());
    std::vector<int32_t> tokens(32), targets(32);
    for (const int64_t length : {16, 16, 16, 5}) {  // the last window of a store may be short
      for (size_t i = 0; i < tokens.size(); ++i) {
        tokens[i] = static_cast<int32_t>(philox(4, i, 0)[0] % 600);
        targets[i] = static_cast<int32_t>(philox(4, i, 1)[0] % 600);
      }
      const auto n = static_cast<size_t>(2 * length);
      const Batch batch{2, length, std::span(tokens).first(n), std::span(targets).first(n)};
      const double nats = shared.step.evaluate(batch);
      EXPECT_EQ(alone.step.evaluate(batch), shared.step.from_last_stage(nats));
    }
    alone.step.run(0, 1e-2, kRandomTokens);
    shared.step.run(0, 1e-2, kRandomTokens);
    size_t seen = 0;
    shared.step.visit_all(shared.step.parameters, [&](size_t i, View value) {
      EXPECT_EQ(i, seen++);
      EXPECT_TRUE(same(alone.step.parameters[i], value)) << alone.table[i].name;
    });
    EXPECT_EQ(seen, ranks().is_root() ? alone.table.size() : 0);
  }
}

TEST(Ranks, HoldOnlyTheirStage) {
  const BatchPlan plan{.slots = 8, .micro_batches = 1, .micro_batch = 1, .context = 16};
  for (const int pp : pipelines()) {
    const RunConfig config = staged(tiny_run(Arch::gpt3, false), pp);
    Rig shared(config, plan, DType::f32, &ranks());
    const auto sum = [&](size_t bytes) {
      int64_t all = 0;
      for (const int64_t one : ranks().gather(static_cast<int64_t>(bytes))) all += one;
      return all;
    };
    const auto whole = static_cast<int64_t>(ParamBuffer::bytes_for(shared.table, DType::f32));
    EXPECT_EQ(sum(shared.step.parameters.bytes()), whole * ranks().size() / pp);
    EXPECT_NEAR(static_cast<double>(sum(shared.step.optimizer.m.bytes())),
                static_cast<double>(whole), 0.05 * static_cast<double>(whole));
  }
}

void skip_the_same_step(const RunConfig& config) {
  const BatchPlan plan{.slots = 8, .micro_batches = 1, .micro_batch = 1, .context = 16};
  Rig alone(config, plan, DType::f32, nullptr), shared(config, plan, DType::f32, &ranks());
  alone.step.run(0, 1e-2, kRandomTokens);
  shared.step.run(0, 1e-2, kRandomTokens);
  // A value that is not finite shows up in one slot only, the last rank's.
  const auto poisoned = [&](Rig& rig) {
    rig.step.settle();
    const size_t row = static_cast<size_t>(find_param(rig.table, "embedding.weight"));
    const View table = rig.step.parameters[row];  // absent in the middle of a pipeline
    const float before = table ? table.row<float>(599)[0] : 0;
    const SequenceSource source = [](uint64_t sequence, std::span<int32_t> window) {
      kRandomTokens(sequence, window);
      for (int32_t& id : window) id = sequence == 15 ? 599 : id % 599;
    };
    if (table) table.row<float>(599)[0] = std::numeric_limits<float>::infinity();
    rig.step.refresh_weights();
    const StepResult result = rig.step.run(1, 1e-2, source);
    if (table) table.row<float>(599)[0] = before;
    rig.step.refresh_weights();
    return result;
  };
  EXPECT_TRUE(poisoned(alone).skipped);
  EXPECT_TRUE(poisoned(shared).skipped);
  const StepResult a = alone.step.run(2, 1e-2, kRandomTokens);
  const StepResult b = shared.step.run(2, 1e-2, kRandomTokens);
  EXPECT_EQ(a.loss, b.loss);
  EXPECT_EQ(alone.step.updates, 2);
  EXPECT_EQ(shared.step.updates, 2);
  expect_same(alone, shared);
}

TEST(Ranks, SkipTheSameStep) {
  skip_the_same_step(tiny_run(Arch::gpt3, true));
  for (const int pp : pipelines()) skip_the_same_step(staged(tiny_run(Arch::gpt3, true), pp));
}

TEST(Ranks, ShareTheMomentsAndAllGradientsCanBeGathered) {
  const BatchPlan plan{.slots = 8, .micro_batches = 1, .micro_batch = 1, .context = 16};
  const RunConfig config = tiny_run(Arch::gpt3, true);
  Rig alone(config, plan, DType::f32, nullptr), shared(config, plan, DType::f32, &ranks());
  alone.step.compute(0, kRandomTokens);
  shared.step.compute(0, kRandomTokens);
  shared.step.gather_gradients();
  for (size_t i = 0; i < alone.table.size(); ++i)
    EXPECT_TRUE(same(alone.step.gradients()[i], shared.step.gradients()[i])) << alone.table[i].name;
  const int64_t whole = static_cast<int64_t>(alone.step.optimizer.m.bytes());
  int64_t sum = 0;
  for (const int64_t bytes : ranks().gather(static_cast<int64_t>(shared.step.optimizer.m.bytes())))
    sum += bytes;
  EXPECT_NEAR(static_cast<double>(sum), static_cast<double>(whole),
              0.05 * static_cast<double>(whole));
}

}  // namespace
}  // namespace isoflop
