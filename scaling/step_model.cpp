#include "scaling/step_model.hpp"

#include "core/math.hpp"
#include "parallel/pipeline.hpp"
#include "parallel/slot_tree.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/model/parts.hpp"

#include <algorithm>
#include <limits>

namespace isoflop {

namespace {

/// Subtree sums: of all copies, and of the copy that has the most.
struct Sums {
  int64_t all = 0, most = 0;
};

Sums sums_of(int64_t slots, int copies) {
  Sums sums;
  for (int copy = 0; copy < copies; ++copy) {
    const auto own = static_cast<int64_t>(subtrees_of(slots, slots_of(slots, copy, copies)).size());
    sums.all += own;
    sums.most = std::max(sums.most, own);
  }
  return sums;
}

/// Of the copies' messages: those within a host and those that leave it go at the same time.
double wire_seconds(double bytes, GridShape grid, const Wires& wires) {
  const double out = share_between_hosts(grid, wires);
  const double within = out < 1 ? (1 - out) * bytes / wires.link_bytes_per_s : 0;
  const double between = out > 0 ? out * bytes / wires.network_bytes_per_s : 0;
  return std::max(within, between);
}

/// Of one micro-batch's residual stream.
double activations_of(const StepWork& work) {
  return static_cast<double>(work.batch.micro_tokens() * work.model.d_model) *
         work.activation_bytes;
}

/// That a rank sends to each of the others that share its matrices, in the passes of a block.
double tensor_bytes(const StepWork& work) {
  return static_cast<double>(part_messages(work.model)) * activations_of(work) *
         (work.grid.tp - 1) / work.grid.tp;
}

}  // namespace

Wires wires_of(const Hardware& hardware) {
  constexpr double kLatency = 10e-6;
  return {hardware.link_bytes_per_s, hardware.network_bytes_per_s, kLatency, hardware.per_node};
}

RankSpeed speed_of(const Hardware& hardware, double parameters) {
  // What was measured here are whole steps, their optimizer included.
  const double memory = hardware.memory_bytes_per_s > 0 ? hardware.memory_bytes_per_s
                                                        : std::numeric_limits<double>::infinity();
  return {hardware.training_flops(parameters) / static_cast<double>(hardware.devices()), memory};
}

double largest_stage(const ParamTable& table, int64_t layers, int stages) {
  std::vector<int64_t> elements(static_cast<size_t>(stages), 0);
  for (const ParamSpec& spec : table)
    elements[static_cast<size_t>(stage_of_block(spec.stage_block, layers, stages))] += spec.size();
  return static_cast<double>(*std::max_element(elements.begin(), elements.end()));
}

double micro_batch_flops(const ModelConfig& model,
                         const BatchPlan& batch,
                         GridShape grid,
                         int stage) {
  const double head = 6.0 * static_cast<double>(model.vocabulary * model.d_model);
  const double block = (training_flops_per_token(model) - head) / static_cast<double>(model.layers);
  const auto blocks = static_cast<double>(blocks_of_stage(model.layers, stage, grid.pp).size());
  return static_cast<double>(batch.micro_tokens()) / grid.tp *
         (blocks * block + (stage + 1 == grid.pp ? head : 0));
}

double tensor_seconds(const StepWork& work, const Wires& wires) {
  if (work.grid.tp == 1) return 0;
  return tensor_bytes(work) / wires.link_bytes_per_s +
         static_cast<double>(part_messages(work.model)) * wires.latency;
}

StepTraffic traffic_of(const StepWork& work) {
  const GridShape& grid = work.grid;
  StepTraffic traffic;
  if (grid.dp > 1) {
    const Sums sums = sums_of(work.batch.slots, grid.dp);
    const double copies = grid.dp;
    const double state = work.stage_parameters * kStateBytes;
    const double sent = static_cast<double>(sums.most) * (copies - 1) / copies;
    const double received = static_cast<double>(sums.all - sums.all / grid.dp) / copies;
    traffic.gradients = std::max(sent, received) * state;
    traffic.parameters = (copies - 1) / copies * state;
  }
  const double micro =
      static_cast<double>(div_ceil(work.batch.slots, grid.dp) * work.batch.micro_batches);
  if (grid.pp > 1) traffic.pipeline = micro * activations_of(work) / grid.tp;
  if (grid.tp > 1)
    traffic.tensor = micro * tensor_bytes(work) * static_cast<double>(work.model.layers) / grid.pp;
  return traffic;
}

double share_between_hosts(GridShape grid, const Wires& wires) {
  if (grid.dp < 2) return 0;
  const double here =
      std::clamp<double>(static_cast<double>(wires.per_host / grid.tp), 1, grid.dp) - 1;
  return 1 - here / (grid.dp - 1);
}

double StepTerms::hidden() const {
  const double all = gradients + parameters;
  return all > 0 ? 1 - (exposed_gradients + exposed_parameters) / all : 1;
}

/// Of ranks that share cores, from what it would be if each had its own.
static StepTerms on_shared_cores(StepTerms terms, double ranks_per_core) {
  StepTerms busy;
  busy.traffic = terms.traffic;
  busy.compute = terms.compute * ranks_per_core;
  busy.held_up = terms.held_up * ranks_per_core;
  busy.gradients = terms.gradients;
  busy.parameters = terms.parameters;
  busy.optimizer = terms.optimizer;
  return busy.step() > terms.step() ? busy : terms;
}

StepTerms step_terms(const StepWork& work, const RankSpeed& speed, const Wires& wires) {
  if (speed.ranks_per_core > 1)
    return on_shared_cores(step_terms(work, speed.alone(), wires), speed.ranks_per_core);
  const GridShape& grid = work.grid;
  const double most =
      static_cast<double>(div_ceil(work.batch.slots, grid.dp) * work.batch.micro_batches);
  const double mean = static_cast<double>(work.batch.slots * work.batch.micro_batches) / grid.dp;
  // One micro-batch, forward and backward: on all stages, and on the slowest.
  double all_stages = 0, micro = 0;
  for (int stage = 0; stage < grid.pp; ++stage) {
    const double seconds = micro_batch_flops(work.model, work.batch, grid, stage) / speed.flops;
    all_stages += seconds;
    micro = std::max(micro, seconds);
  }
  StepTerms terms;
  terms.traffic = traffic_of(work);
  terms.compute = mean * all_stages / grid.pp;
  terms.held_up = terms.traffic.all(grid.pp) * speed.held_up_s_per_byte;
  terms.uneven = most * micro - terms.compute;
  terms.bubble = all_stages - micro;
  const double own = work.stage_parameters / grid.dp;
  const double adamw = own * kOptimizerBytes / speed.memory_bytes_per_s;

  if (grid.dp > 1) {
    // Of a stage's blocks: the part that is ready last, or needed first.
    const double alone = static_cast<double>(grid.pp) / static_cast<double>(work.model.layers + 1);
    terms.gradients = wire_seconds(terms.traffic.gradients, grid, wires);
    terms.parameters = wire_seconds(terms.traffic.parameters, grid, wires);
    const double last = std::min(alone, 1.0);
    terms.exposed_gradients =
        std::max(last / 2 * terms.gradients, terms.gradients - micro * 2 / 3) + wires.latency;
    // The first part's leave while the others are updated.
    const double ahead = (1 - last) * adamw;
    terms.exposed_parameters =
        std::max(0.0, std::max(last * terms.parameters, terms.parameters - micro / 3) +
                          wires.latency - ahead);
  }
  terms.tensor =
      most * static_cast<double>(work.model.layers) / grid.pp * tensor_seconds(work, wires);
  if (grid.pp > 1) {
    const bool near = grid.dp * grid.tp < wires.per_host;
    const double message = activations_of(work) / grid.tp /
                               (near ? wires.link_bytes_per_s : wires.network_bytes_per_s) +
                           wires.latency;
    terms.pipeline = 2 * (grid.pp - 1) * (most / grid.pp + 1) * message;
  }
  const double sums = static_cast<double>(sums_of(work.batch.slots, grid.dp).all - 1);
  terms.optimizer = adamw + own * 3 * kStateBytes * sums / speed.memory_bytes_per_s;
  return terms;
}

}  // namespace isoflop
