// What a training step takes on many ranks: bytes on the wires, and seconds term by term, in closed
// form. The same work by a clock, message by message: scaling/simulate.hpp.
//
//   step = compute + what messages take of it + uneven slots and stages + bubble + tensor parallel
//          + pipeline messages + what of gradients and parameters is not hidden + optimizer
//
// Compute: the training FLOPs of a mean rank's part of the step (full-attention convention) at the
// rate of a device alone. Uneven: the copy with the most slots and the stage with the most work set
// the pace. Bubble: filling and draining the pipeline (parallel/pipeline.hpp). Gradients leave
// half a block at a time during the backward pass of the last micro-batch and can hide behind it,
// but for the last half; parameters leave likewise during the update and arrive during the first
// forward pass, and can hide behind both, but for the first. Nothing hides what ranks that share
// matrices say to each other, nor, of 1F1B's round trip from a micro-batch's first forward to its
// last backward pass, what goes between the stages: 2 (pp - 1) messages, while pp micro-batches are
// under way, and as many to fill and drain. Ranks that share cores go by the same, each as fast as
// if it were alone there; but a step never takes less than their cores need to compute it, and in
// that time nobody is seen to wait.
#pragma once
#include "core/param.hpp"
#include "parallel/grid.hpp"
#include "pretrain/config/batch_plan.hpp"
#include "scaling/hardware.hpp"

#include <cstdint>

namespace isoflop {

/// Between ranks, each way.
struct Wires {
  double link_bytes_per_s = 0;     // within a host
  double network_bytes_per_s = 0;  // between hosts, of one rank
  double latency = 0;              // seconds, one way
  int64_t per_host = 1;            // ranks
};

/// Latencies are round figures of NVLink and InfiniBand as NCCL sees them.
Wires wires_of(const Hardware& hardware);

/// Of one rank.
struct RankSpeed {
  double flops = 0;               // of training, full-attention convention, while all compute
  double memory_bytes_per_s = 0;  // for what the optimizer reads and writes
  /// Of such ranks; where it is more than one, a rank that waits leaves its part of a core to
  /// others.
  double ranks_per_core = 1;
  /// That a byte which a rank sends, while another one comes in, holds up its computing: of
  /// messages that share cores or memory with it. Nothing is known of named devices: 0.
  double held_up_s_per_byte = 0;

  /// With cores that nobody else uses.
  RankSpeed alone() const {
    return {flops * ranks_per_core, memory_bytes_per_s, 1, held_up_s_per_byte / ranks_per_core};
  }
};

/// Of a named device by published runs (expected_mfu), which paid for optimizer and messages within
/// a node, too: forecasts count those twice and err on the slow side.
RankSpeed speed_of(const Hardware& hardware, double parameters);

struct StepWork {
  const ModelConfig& model;
  BatchPlan batch;
  GridShape grid;
  double stage_parameters = 0;  // of one rank: of the stage that has the most, its part under tp
  double activation_bytes = 2;  // of an element that stages and parts pass on
};

/// Bytes of gradients and of parameters that travel, and that the optimizer works on: fp32.
inline constexpr double kStateBytes = 4;
/// Bytes that AdamW reads and writes for an element: parameter, gradient and two moments, of which
/// three are written back.
inline constexpr double kOptimizerBytes = 28;

/// Elements of the stage that has the most of `table`.
double largest_stage(const ParamTable& table, int64_t layers, int stages);

/// FLOPs of training a micro-batch on one rank of a stage: its blocks, and in the last the head.
double micro_batch_flops(const ModelConfig& model,
                         const BatchPlan& batch,
                         GridShape grid,
                         int stage);
/// Seconds of what ranks that share matrices say in the passes of a block on one micro-batch.
double tensor_seconds(const StepWork& work, const Wires& wires);

/// In a step, of the rank that has most to do with it.
struct StepTraffic {
  double gradients = 0;   // sent or received, whichever is more: subtree sums of slots
  double parameters = 0;  // sent or received likewise: updated rows
  double pipeline = 0;    // sent to each neighbour: activations, and gradients of them
  double tensor = 0;      // sent within a tensor-parallel group

  double all(int stages) const {
    return gradients + parameters + tensor + (stages > 2 ? 2 : 1) * pipeline;
  }
};
StepTraffic traffic_of(const StepWork& work);

/// Part of a copy's messages to the other copies that leaves the host. Ranks are numbered as in
/// parallel/grid.hpp.
double share_between_hosts(GridShape grid, const Wires& wires);

/// Seconds.
struct StepTerms {
  StepTraffic traffic;
  double compute = 0, held_up = 0, uneven = 0, bubble = 0;
  double tensor = 0, pipeline = 0;
  double gradients = 0, parameters = 0;                  // the wire's time
  double exposed_gradients = 0, exposed_parameters = 0;  // that nothing hides
  double optimizer = 0;                                  // sums of subtrees included

  double step() const {
    return compute + held_up + uneven + bubble + tensor + pipeline + exposed_gradients +
           exposed_parameters + optimizer;
  }
  double efficiency() const { return compute / step(); }
  /// Of the time that gradients and parameters take on the wire; 1 without any.
  double hidden() const;
};
StepTerms step_terms(const StepWork& work, const RankSpeed& speed, const Wires& wires);

}  // namespace isoflop
