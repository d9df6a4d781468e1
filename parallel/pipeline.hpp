// A pipeline's schedule as data: what each stage does, in order, made by pure code and carried out
// elsewhere (pretrain/train), or by a clock alone (simulate_pipeline).
//
// 1F1B (Narayanan et al. 2019): a stage starts with as many forward passes as there are stages
// behind it, then alternates, so that it never holds more than that + 1 micro-batches. Three
// stages, five micro-batches, a backward pass as long as two forward passes:
//
//   stage 0  F0 F1 F2 .. .. .. B0 B0 F3 B1 B1 F4 B2 B2 .. B3 B3 .. B4 B4
//   stage 1     F0 F1 .. B0 B0 F2 B1 B1 F3 B2 B2 F4 B3 B3 .. B4 B4
//   stage 2        F0 B0 B0 F1 B1 B1 F2 B2 B2 F3 B3 B3 F4 B4 B4
//
// Backward passes come in the order of the micro-batches on every stage, which is what makes the
// sums those of a single rank.
#pragma once
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace isoflop {

/// A receive only says that memory is ready; whoever computes with it waits. A send leaves at once
/// and is waited for when its memory is needed again.
enum class PipeOp : uint8_t {
  receive_input,     // from the stage before
  forward,           //
  send_output,       // to the stage behind
  receive_gradient,  // of our output, from the stage behind
  backward,          //
  send_gradient,     // of our input, to the stage before
};
std::string_view name_of(PipeOp op);

struct PipeInstruction {
  PipeOp op = PipeOp::forward;
  int64_t micro = 0;  // of the micro-batches that the pipeline is given, in order

  bool operator==(const PipeInstruction&) const = default;
};
using PipeSchedule = std::vector<PipeInstruction>;

/// Memory for messages under way, in each direction: receives stand one computation ahead.
inline constexpr int64_t kPipeBuffers = 2;

PipeSchedule one_forward_one_backward(int stage, int stages, int64_t micro_batches);
/// Validation: forward passes only.
PipeSchedule forward_only(int stage, int stages, int64_t micro_batches);

/// The most micro-batches between their forward and their backward pass at once.
int64_t most_in_flight(const PipeSchedule& schedule);

/// The part of a step in which a stage has nothing to do when all are equally fast and messages
/// cost nothing: (stages - 1) / (micro_batches + stages - 1).
double bubble_share(int stages, int64_t micro_batches);

/// Blocks [first, last) of a stage: as even as whole blocks can be.
struct BlockRange {
  int64_t first = 0, last = 0;

  int64_t size() const { return last - first; }
  bool operator==(const BlockRange&) const = default;
};
/// UserError when there are more stages than blocks.
BlockRange blocks_of_stage(int64_t blocks, int stage, int stages);
/// Who has a block; what lies before the first goes with the first stage (block < 0), what lies
/// behind the last with the last.
int stage_of_block(int64_t block, int64_t blocks, int stages);

/// Seconds.
struct PipeCosts {
  std::vector<double> forward, backward;  // per stage, of one micro-batch
  double message = 0;                     // one micro-batch's activations on the wire
  double latency = 0;
};

/// A computation, when it ran.
struct PipeEvent {
  int stage = 0;
  PipeInstruction instruction;
  double start = 0, end = 0;
};

struct PipeTimeline {
  std::vector<PipeEvent> events;  // in the order in which they end
  double seconds = 0;             // until the last stage is done
  double bubble = 0;              // part of all stages' time in which they do not compute
};

/// Runs the schedules of all stages by a clock. A message moves once it is sent and received, one
/// at a time in each direction of a link. InternalError, with the stage and what it waits for, when
/// nobody can go on.
PipeTimeline simulate_pipeline(std::span<const PipeSchedule> stages, const PipeCosts& costs);

}  // namespace isoflop
