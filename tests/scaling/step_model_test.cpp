// What a step costs on many ranks: by a closed form and by a clock, against each other and against
// what can be counted by hand.
#include "scaling/step_model.hpp"

#include "parallel/pipeline.hpp"
#include "parallel/tensor_cut.hpp"
#include "pretrain/model/architecture.hpp"
#include "scaling/simulate.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace isoflop {
namespace {

ModelConfig small_model(int64_t layers = 8) {
  ModelConfig model;
  model.layers = layers;
  model.d_model = 128;
  model.heads = 4;
  model.head_dim = 32;
  model.kv_heads = 4;
  model.d_ff = 512;
  model.context = 64;
  model.vocabulary = 512;
  return model;
}

struct Case {
  ModelConfig model = small_model();
  ParamTable table = make_param_table(model);
  BatchPlan batch{.slots = 8, .micro_batches = 2, .micro_batch = 2, .context = 64};
  // Memory so fast that the optimizer takes no time.
  RankSpeed speed{.flops = 1e12, .memory_bytes_per_s = 1e20};
  Wires wires{.link_bytes_per_s = 1e15, .network_bytes_per_s = 1e15, .latency = 0, .per_host = 64};

  StepWork work(GridShape grid) const {
    return {model, batch, grid, largest_stage(cut_table(table, 0, grid.tp), model.layers, grid.pp)};
  }
  StepTerms terms(GridShape grid) const { return step_terms(work(grid), speed, wires); }
  SimulatedStep simulated(GridShape grid, int steps = 3) const {
    return simulate_steps(work(grid), table, speed, wires, steps);
  }
  double one_rank() const {
    return training_flops_per_token(model) * static_cast<double>(batch.tokens()) / speed.flops;
  }
};

TEST(StepModel, OneRankComputes) {
  const Case c;
  const StepTerms terms = c.terms({});
  EXPECT_NEAR(terms.step(), c.one_rank(), 1e-9 * c.one_rank());
  EXPECT_EQ(terms.traffic.gradients, 0);
  EXPECT_EQ(terms.hidden(), 1);
  EXPECT_NEAR(c.simulated({}).seconds, c.one_rank(), 1e-9 * c.one_rank());
}

TEST(StepModel, WithoutWiresCopiesShareTheWork) {
  const Case c;
  for (const int dp : {2, 4, 8}) {
    EXPECT_NEAR(c.terms({.dp = dp}).step(), c.one_rank() / dp, 1e-6 * c.one_rank());
    EXPECT_NEAR(c.simulated({.dp = dp}).seconds, c.one_rank() / dp, 1e-6 * c.one_rank());
  }
  // 3 copies of 8 slots: 3 of them set the pace.
  EXPECT_NEAR(c.terms({.dp = 3}).step(), c.one_rank() * 3 / 8, 1e-6 * c.one_rank());
  EXPECT_NEAR(c.terms({.dp = 3}).compute, c.one_rank() / 3, 1e-9 * c.one_rank());
  EXPECT_NEAR(c.simulated({.dp = 3}).seconds, c.one_rank() * 3 / 8, 1e-6 * c.one_rank());
}

// 64 rows are the smallest part of a matrix, so shares are not exactly even.
TEST(StepModel, BytesAreThoseOfTheExchange) {
  const Case c;
  const double bytes = 4 * static_cast<double>(parameter_count(c.table));
  EXPECT_NEAR(c.terms({.dp = 2}).traffic.gradients, bytes / 2, 1);
  EXPECT_NEAR(c.terms({.dp = 2}).traffic.parameters, bytes / 2, 1);
  EXPECT_NEAR(c.terms({.dp = 8}).traffic.gradients, bytes * 7 / 8, 1);
  // Of slots 0-1 | 2-4 | 5-7 the subtrees are 0-1 | 2-3, 4 | 5, 6-7: two of the three copies send
  // two sums of what they do not own.
  EXPECT_NEAR(c.terms({.dp = 3}).traffic.gradients, bytes * 2 * 2 / 3, 1);
  const StepTerms staged = c.terms({.dp = 1, .tp = 1, .pp = 2});
  EXPECT_EQ(staged.traffic.gradients, 0);
  EXPECT_EQ(staged.traffic.pipeline, 16.0 * 128 * 128 * 2);  // micro-batches, tokens, width, bf16
}

TEST(StepModel, AStageThatWaitsIsABubble) {
  Case c;
  c.model.vocabulary = 1;  // a head costs next to nothing, so that stages are even
  c.table = make_param_table(c.model);
  for (const int pp : {2, 4}) {
    const GridShape grid{.dp = 1, .tp = 1, .pp = pp};
    const StepTerms terms = c.terms(grid);
    EXPECT_NEAR(terms.bubble / terms.step(), bubble_share(pp, 16), 1e-3);
    const SimulatedStep simulated = c.simulated(grid);
    EXPECT_NEAR(simulated.seconds, terms.step(), 1e-3 * terms.step());
    EXPECT_NEAR(simulated.bubble, bubble_share(pp, 16), 1e-3);
  }
}

// A head costs as much as several blocks: the last stage sets the pace, the first waits for it.
TEST(StepModel, TheStageWithTheHeadSetsThePace) {
  Case c;
  c.model.vocabulary = 8192;
  c.table = make_param_table(c.model);
  const GridShape grid{.dp = 1, .tp = 1, .pp = 2};
  const double first = micro_batch_flops(c.model, c.batch, grid, 0) / c.speed.flops;
  const double last = micro_batch_flops(c.model, c.batch, grid, 1) / c.speed.flops;
  EXPECT_GT(last, 1.5 * first);
  EXPECT_NEAR(16 * (first + last), c.one_rank(), 1e-9 * c.one_rank());
  EXPECT_NEAR(c.terms(grid).step(), 16 * last + first, 1e-6 * last);  // the wire takes some time
  EXPECT_NEAR(c.simulated(grid).seconds, 16 * last + first, 1e-3 * c.one_rank());
}

// pp micro-batches are under way at once, each with 2 (pp - 1) messages that nothing hides; and as
// many fill and drain the pipeline.
TEST(StepModel, StagesThatAreFarApartWaitForEachOther) {
  Case c;
  c.model.vocabulary = 1;
  c.table = make_param_table(c.model);
  for (const int pp : {2, 4}) {
    const GridShape grid{.dp = 1, .tp = 1, .pp = pp};
    const double micro = micro_batch_flops(c.model, c.batch, grid, 0) / c.speed.flops;
    c.wires.latency = 0.2 * micro;
    EXPECT_NEAR(c.terms(grid).pipeline, 2 * (pp - 1) * (16.0 / pp + 1) * c.wires.latency,
                1e-5 * micro);
    EXPECT_NEAR(c.terms(grid).step(), c.simulated(grid).seconds, 1e-3 * c.simulated(grid).seconds);
  }
}

TEST(StepModel, RanksThatShareMatricesWaitForEachOther) {
  Case c;
  c.wires.latency = 1e-5;
  c.wires.link_bytes_per_s = 1e9;
  const GridShape grid{.dp = 1, .tp = 2, .pp = 1};
  // 10 messages of half of 128 tokens x 128 wide in bf16, 8 blocks, 16 micro-batches.
  const double messages = 16 * 8 * 10 * (64 * 128 * 2 / 1e9 + 1e-5);
  EXPECT_NEAR(c.terms(grid).tensor, messages, 1e-9);
  EXPECT_NEAR(c.terms(grid).step(), c.one_rank() / 2 + messages, 1e-9);
  EXPECT_NEAR(c.simulated(grid).seconds, c.terms(grid).step(), 1e-3 * messages);
}

// Four ranks on two cores: as long as two of them have something to do, nobody's waiting costs
// anything.
TEST(StepModel, ARankThatWaitsLeavesItsCoreToOthers) {
  Case c;
  c.model.vocabulary = 1;
  c.table = make_param_table(c.model);
  const GridShape grid{.dp = 2, .tp = 1, .pp = 2};
  const double bubble = c.terms(grid).bubble;
  ASSERT_GT(bubble, 0.05 * c.one_rank() / 4);
  c.speed.ranks_per_core = 2;
  EXPECT_NEAR(c.terms(grid).step(), c.one_rank() / 4, 1e-6 * c.one_rank());
  EXPECT_NEAR(c.terms(grid).efficiency(), 1, 1e-6);
  SimulatedStep simulated = c.simulated(grid);
  EXPECT_NEAR(simulated.seconds, c.one_rank() / 4, 1e-6 * c.one_rank());
  EXPECT_EQ(simulated.bubble, 0);
  // A wire that keeps all of them waiting costs what it costs.
  c.wires.latency = 0.1 * c.one_rank();
  EXPECT_GT(c.simulated(grid).seconds, 4 * c.wires.latency);
  EXPECT_GT(c.terms(grid).step(), 4 * c.wires.latency);
  // With as many cores as ranks nothing changes.
  c.wires.latency = 0;
  c.speed.ranks_per_core = 1;
  EXPECT_EQ(c.terms(grid).bubble, bubble);
}

TEST(StepModel, MessagesHoldUpWhatComputesBesideThem) {
  Case c;
  const StepTerms free = c.terms({.dp = 2});
  const double before = c.simulated({.dp = 2}).seconds;
  const double bytes = free.traffic.gradients + free.traffic.parameters;
  c.speed.held_up_s_per_byte = 0.3 * before / bytes;
  EXPECT_NEAR(c.terms({.dp = 2}).held_up, 0.3 * before, 1e-9 * before);
  EXPECT_NEAR(c.terms({.dp = 2}).step(), 1.3 * free.step(), 1e-6 * free.step());
  EXPECT_NEAR(c.simulated({.dp = 2}).seconds, 1.3 * before, 1e-6 * before);
  // Both on one core: what was measured there is of both.
  c.speed.ranks_per_core = 2;
  EXPECT_NEAR(c.simulated({.dp = 2}).seconds, 1.3 * before, 1e-6 * before);
}

// The update takes as long as a quarter of computing, parameters as long on the wire: all but the
// first to be updated are on their way meanwhile, and the forward pass hides the rest.
TEST(StepModel, ParametersLeaveDuringTheUpdate) {
  Case c;
  const double elements = static_cast<double>(parameter_count(c.table)) / 2;
  const double quarter = c.one_rank() / 8;
  c.speed.memory_bytes_per_s = elements * kOptimizerBytes / quarter;
  c.wires.link_bytes_per_s = elements * kStateBytes / quarter;
  EXPECT_EQ(c.terms({.dp = 2}).exposed_parameters, 0);
  const std::vector<TimelineEvent> events = c.simulated({.dp = 2}).events;
  int during = 0, after = 0;
  for (const TimelineEvent& update : events) {
    if (update.name != "optimizer") continue;
    for (const TimelineEvent& event : events)
      if (event.rank == update.rank &&
          kSimulatedRows[static_cast<size_t>(event.row)] == "parameters" &&
          event.start > update.start && event.start < update.start + 2 * quarter)
        ++(event.start < update.end ? during : after);
  }
  EXPECT_GT(during, 8 * after);
}

TEST(StepModel, AWireSlowerThanComputingSetsThePace) {
  Case c;
  c.batch = {.slots = 2, .micro_batches = 1, .micro_batch = 1, .context = 64};
  const double bytes = 4 * static_cast<double>(parameter_count(c.table)) / 2;
  c.wires.link_bytes_per_s = bytes / c.one_rank();  // each direction takes as long as all computing
  const StepTerms terms = c.terms({.dp = 2});
  const SimulatedStep simulated = c.simulated({.dp = 2});
  // Gradients and parameters, one after the other, less what hides behind half a step of computing.
  EXPECT_GT(simulated.seconds, 1.9 * c.one_rank());
  EXPECT_LT(simulated.seconds, 2.6 * c.one_rank());
  EXPECT_NEAR(terms.step(), simulated.seconds, 0.25 * simulated.seconds);
  EXPECT_LT(simulated.hidden(), 0.4);
}

TEST(StepModel, AFastWireHides) {
  Case c;
  const double bytes = 4 * static_cast<double>(parameter_count(c.table)) / 2;
  c.wires.link_bytes_per_s = bytes / (c.one_rank() / 2 / 16 / 20);  // a twentieth of a micro-batch
  const SimulatedStep simulated = c.simulated({.dp = 2});
  EXPECT_LT(simulated.seconds, 1.01 * c.one_rank() / 2);
  // All but the last bucket of gradients and the first of parameters, which are a table's.
  EXPECT_GT(simulated.hidden(), 0.5);
}

TEST(StepModel, WhatLeavesAHostGoesByItsNetwork) {
  Case c;
  c.wires = {.link_bytes_per_s = 1e15, .network_bytes_per_s = 1e9, .latency = 0, .per_host = 2};
  EXPECT_EQ(share_between_hosts({.dp = 2}, c.wires), 0);
  EXPECT_NEAR(share_between_hosts({.dp = 4}, c.wires), 2.0 / 3, 1e-12);
  EXPECT_EQ(share_between_hosts({.dp = 4, .tp = 2}, c.wires), 1);
  EXPECT_GT(c.terms({.dp = 4}).gradients, 100 * c.terms({.dp = 2}).gradients);
  EXPECT_GT(c.simulated({.dp = 4}).wire, 100 * c.simulated({.dp = 2}).wire);
}

TEST(StepModel, StepsAreAlikeAfterTheFirst) {
  Case c;
  c.wires.link_bytes_per_s = 1e9;
  c.wires.latency = 1e-6;
  const GridShape grid{.dp = 2, .tp = 1, .pp = 2};
  EXPECT_NEAR(c.simulated(grid, 3).seconds, c.simulated(grid, 6).seconds,
              1e-9 * c.simulated(grid).seconds);
}

TEST(StepModel, EventsOfARankDoNotOverlapWithinARow) {
  Case c;
  c.wires.link_bytes_per_s = 1e9;
  const SimulatedStep step = c.simulated({.dp = 2, .tp = 1, .pp = 2});
  std::map<std::pair<int, int>, std::vector<std::pair<double, double>>> rows;
  for (const TimelineEvent& event : step.events)
    rows[{event.rank, event.row}].push_back({event.start, event.end});
  EXPECT_EQ(rows.size(), 4 * kSimulatedRows.size());
  for (auto& [row, spans] : rows) {
    std::sort(spans.begin(), spans.end());
    for (size_t i = 1; i < spans.size(); ++i)
      EXPECT_GE(spans[i].first, spans[i - 1].second - 1e-12) << row.first << " " << row.second;
  }
}

}  // namespace
}  // namespace isoflop
