#include "parallel/pipeline.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

namespace isoflop {
namespace {

std::vector<PipeSchedule> all_stages(int stages, int64_t micro_batches) {
  std::vector<PipeSchedule> schedules;
  for (int stage = 0; stage < stages; ++stage)
    schedules.push_back(one_forward_one_backward(stage, stages, micro_batches));
  return schedules;
}

std::vector<int64_t> micros_of(const PipeSchedule& schedule, PipeOp op) {
  std::vector<int64_t> micros;
  for (const PipeInstruction& instruction : schedule)
    if (instruction.op == op) micros.push_back(instruction.micro);
  return micros;
}

PipeCosts costs(int stages, double forward, double backward, double message, double latency) {
  const auto n = static_cast<size_t>(stages);
  return {std::vector<double>(n, forward), std::vector<double>(n, backward), message, latency};
}

/// What holds for any pipeline, whatever its size.
void expect_sound(int stages, int64_t micro_batches) {
  SCOPED_TRACE(std::to_string(stages) + " stages, " + std::to_string(micro_batches));
  const std::vector<PipeSchedule> schedules = all_stages(stages, micro_batches);
  std::vector<int64_t> in_order;
  for (int64_t micro = 0; micro < micro_batches; ++micro) in_order.push_back(micro);
  for (int stage = 0; stage < stages; ++stage) {
    const PipeSchedule& schedule = schedules[static_cast<size_t>(stage)];
    const bool first = stage == 0, last = stage == stages - 1;
    const std::vector<int64_t> none;
    EXPECT_EQ(micros_of(schedule, PipeOp::forward), in_order);
    EXPECT_EQ(micros_of(schedule, PipeOp::backward), in_order);
    // Both ends of a link go through the same messages, in order.
    EXPECT_EQ(micros_of(schedule, PipeOp::receive_input), first ? none : in_order);
    EXPECT_EQ(micros_of(schedule, PipeOp::send_output), last ? none : in_order);
    EXPECT_EQ(micros_of(schedule, PipeOp::receive_gradient), last ? none : in_order);
    EXPECT_EQ(micros_of(schedule, PipeOp::send_gradient), first ? none : in_order);
    EXPECT_EQ(most_in_flight(schedule), std::min<int64_t>(stages - stage, micro_batches));

    int64_t inputs = 0, gradients = 0, forwards = 0;  // ready and not used yet; done
    for (const PipeInstruction& instruction : schedule) {
      const bool forward = instruction.op == PipeOp::forward;
      const bool backward = instruction.op == PipeOp::backward;
      inputs += instruction.op == PipeOp::receive_input;
      gradients += instruction.op == PipeOp::receive_gradient;
      inputs -= forward && !first;
      gradients -= backward && !last;
      for (const int64_t waiting : {inputs, gradients}) {
        EXPECT_GE(waiting, 0) << "computes with what nobody asked for";
        EXPECT_LE(waiting, kPipeBuffers);
      }
      forwards += forward;
      EXPECT_TRUE(!backward || instruction.micro < forwards) << "backward before forward";
    }
  }
  // Nobody gets stuck, however slow the wire is.
  for (const double message : {0.0, 0.4, 30.0}) {
    const PipeTimeline timeline =
        simulate_pipeline(schedules, costs(stages, 1, 2, message, message / 3));
    EXPECT_EQ(timeline.events.size(), static_cast<size_t>(2 * stages * micro_batches));
    for (const PipeEvent& event : timeline.events) EXPECT_LE(event.end, timeline.seconds);
  }
}

TEST(Pipeline, KeepsOrderAndNeverGetsStuck) {
  for (int stages = 1; stages <= 9; ++stages)
    for (const int64_t micro_batches : {1, 2, 3, 4, 5, 7, 8, 16, 33})
      expect_sound(stages, micro_batches);
  expect_sound(64, 128);
}

TEST(Pipeline, TakesTheTimeThatTheFormulaSays) {
  for (const int stages : {1, 2, 4, 7})
    for (const int64_t micro_batches : {7, 16}) {
      const PipeTimeline timeline =
          simulate_pipeline(all_stages(stages, micro_batches), costs(stages, 1, 2, 0, 0));
      EXPECT_DOUBLE_EQ(timeline.seconds, 3.0 * static_cast<double>(micro_batches + stages - 1));
      EXPECT_NEAR(timeline.bubble, bubble_share(stages, micro_batches), 1e-12);
    }
  EXPECT_DOUBLE_EQ(bubble_share(4, 12), 0.2);
}

// A stage goes on only when the one behind has sent a gradient back, so each micro-batch pays for a
// round trip at most, and for none of it twice.
TEST(Pipeline, PaysForTheWireOnceAMicroBatch) {
  for (const int stages : {2, 4}) {
    const auto with = [&](double message, double latency) {
      return simulate_pipeline(all_stages(stages, 32), costs(stages, 1, 2, message, latency))
          .seconds;
    };
    EXPECT_GT(with(0.25, 0.05), with(0, 0));
    EXPECT_LE(with(0.25, 0.05), with(0, 0) + (32 + stages) * 2 * 0.3);
    EXPECT_GE(with(10, 0), 32 * 10) << "not faster than its link";
  }
}

TEST(Pipeline, SaysWhoIsStuck) {
  std::vector<PipeSchedule> schedules = all_stages(2, 2);
  schedules[1].erase(std::find(schedules[1].begin(), schedules[1].end(),
                               PipeInstruction{PipeOp::send_gradient, 0}));
  try {
    simulate_pipeline(schedules, costs(2, 1, 1, 0, 0));
    FAIL() << "a gradient never comes";
  } catch (const std::logic_error& error) {
    EXPECT_NE(std::string(error.what()).find("stage 0 waits with backward of micro-batch 1"),
              std::string::npos)
        << error.what();
  }
}

TEST(Pipeline, PartsBlocksEvenly) {
  for (const int64_t blocks : {4, 7, 12})
    for (int stages = 1; stages <= 4; ++stages) {
      int64_t next = 0;
      for (int stage = 0; stage < stages; ++stage) {
        const BlockRange range = blocks_of_stage(blocks, stage, stages);
        EXPECT_EQ(range.first, next);
        EXPECT_GE(range.size(), blocks / stages);
        EXPECT_LE(range.size(), blocks / stages + 1);
        for (int64_t block = range.first; block < range.last; ++block)
          EXPECT_EQ(stage_of_block(block, blocks, stages), stage);
        next = range.last;
      }
      EXPECT_EQ(next, blocks);
      EXPECT_EQ(stage_of_block(-1, blocks, stages), 0);
      EXPECT_EQ(stage_of_block(blocks, blocks, stages), stages - 1);
    }
  EXPECT_THROW(blocks_of_stage(2, 0, 3), UserError);
}

}  // namespace
}  // namespace isoflop
