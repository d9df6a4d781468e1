#include "launch/train_plan.hpp"

#include "core/math.hpp"
#include "launch/step_terms.hpp"
#include "parallel/grid.hpp"
#include "parallel/pipeline.hpp"
#include "pretrain/gguf_recipe.hpp"
#include "pretrain/train/trainer.hpp"
#include "report/humanize.hpp"

#include <algorithm>

namespace isoflop {

namespace {

std::vector<MemoryRow> memory_of(const Run& run, const Backend& backend, int ranks) {
  const MemoryOf where = backend.in_host_memory() ? MemoryOf::host : MemoryOf::device;
  std::vector<MemoryRow> rows =
      plan_memory(run.config, run.table, run.batch, backend.activation_dtype(),
                  backend.state_dtype(), ranks, where);
  if (where == MemoryOf::host) rows.push_back({"program, libraries", resident_memory()});
  return rows;
}

size_t total(const std::vector<MemoryRow>& rows) {
  size_t sum = 0;
  for (const MemoryRow& row : rows) sum += row.bytes;
  return sum;
}

/// The price of the ranks: what each sends in a step, and what waits while the one with the most
/// slots computes.
void print_copies(const Run& run, const Backend& backend, const Context& context, GridShape grid) {
  const int ranks = grid.dp;
  const int64_t slots = run.batch.slots, most = div_ceil(slots, ranks);
  const StepTraffic traffic = traffic_of(work_of(run, grid, backend.activation_dtype()));
  context.note(
      "ranks    {}{}, of {} slots at most {} each{}; a rank sends {} of gradients and {} of "
      "parameters a step",
      grid.ranks(),
      grid.pp * grid.tp > 1
          ? fmt::format(" = {} copies x {} parts x {} stages", ranks, grid.tp, grid.pp)
          : "",
      slots, most,
      slots % ranks
          ? fmt::format(" ({:.0f}% of the ranks' time is used)",
                        100.0 * static_cast<double>(slots) / static_cast<double>(most * ranks))
          : std::string(),
      human_bytes(traffic.gradients), human_bytes(traffic.parameters));
}

/// Of the residual stream.
double micro_batch_bytes(const Run& run, const Backend& backend) {
  return static_cast<double>(run.batch.micro_tokens() * run.config.model.d_model) *
         static_cast<double>(size_of(backend.activation_dtype()));
}

void print_stages(const Run& run, const Backend& backend, const Context& context, GridShape grid) {
  const int64_t layers = run.config.model.layers;
  const int64_t micro = div_ceil(run.batch.slots, grid.dp) * run.batch.micro_batches;
  const double message = micro_batch_bytes(run, backend) / grid.tp;
  std::string blocks;
  for (int stage = 0; stage < grid.pp; ++stage)
    blocks +=
        fmt::format("{}{}", stage ? " + " : "", blocks_of_stage(layers, stage, grid.pp).size());
  context.note(
      "stages   {} of {} blocks, {} micro-batches a step, so {:.1f}% of it goes to filling and "
      "draining; {} a micro-batch to each neighbour",
      grid.pp, blocks, micro, 100 * bubble_share(grid.pp, micro), human_bytes(message));
}

void print_parts(const Run& run, const Backend& backend, const Context& context, GridShape grid) {
  const double sent = static_cast<double>(part_messages(run.config.model)) *
                      micro_batch_bytes(run, backend) * (grid.tp - 1) / grid.tp;
  context.note(
      "parts    {} of each matrix: {} heads, {} hidden units, {} rows of the vocabulary each; a "
      "rank "
      "sends {} a block and micro-batch, and its pass waits for it",
      grid.tp, run.config.model.heads / grid.tp, run.config.model.d_ff / grid.tp,
      part_of(run.config.model.vocabulary, 0, grid.tp).count, human_bytes(sent));
}

void print_ranks(const Run& run, const Backend& backend, const Context& context, int ranks) {
  const GridShape grid = grid_shape(run.config, ranks);
  print_copies(run, backend, context, grid);
  if (grid.tp > 1) print_parts(run, backend, context, grid);
  if (grid.pp > 1) print_stages(run, backend, context, grid);
}

}  // namespace

void print_shape(const Run& run, const Backend& backend, const Context& context) {
  const ModelConfig& m = run.config.model;
  context.note("model    {} layers x {} wide, {} heads, context {}, vocabulary {}: {} parameters",
               m.layers, m.d_model, m.heads, m.context, m.vocabulary,
               human_count(static_cast<double>(parameter_count(run.table))));
  context.note("batch    {} slots x {} micro-batches x {} sequences x {} tokens", run.batch.slots,
               run.batch.micro_batches, run.batch.micro_batch, run.batch.context);
  context.note("device   {}", backend.description());
}

void print_plan(const Run& run, const Backend& backend, const Context& context, int ranks) {
  const double parameters = static_cast<double>(parameter_count(run.table));
  const double tokens = static_cast<double>(run.batch.tokens_before(run.schedule.steps));
  print_shape(run, backend, context);
  context.note("run      {} steps x {} tokens = {} tokens, {:.1f} per parameter",
               run.schedule.steps, run.batch.tokens(), human_count(tokens), tokens / parameters);
  if (!run.batch.ramp.empty())
    context.note(
        "ramp     steps grow from {} tokens to that size over the first {} steps, {} tokens",
        run.batch.tokens_at(0), run.batch.ramp.back().first_step,
        human_count(
            static_cast<double>(run.batch.tokens_before(run.batch.ramp.back().first_step))));
  if (ranks > 1) print_ranks(run, backend, context, ranks);
  const std::vector<MemoryRow> memory = memory_of(run, backend, ranks);
  context.note("memory   {} in all{}{}", human_bytes(static_cast<double>(total(memory))),
               backend.in_host_memory() ? "" : ", of the device's",
               ranks > 1 ? ", of each rank" : "");
  for (const MemoryRow& row : memory)
    context.note("         {:<20} {}", row.kind, human_bytes(static_cast<double>(row.bytes)));
  for (const std::string& advice : quantization_advice(run.config.model))
    context.note("export   {}", advice);
  if (run.schedule.quantizes(run.schedule.steps))
    context.note("grid     from step {} on the model lies on that of a {} file",
                 run.schedule.quantize_after, run.config.schedule.quantize);
  context.note("rate     peak {} ({} decay)\n{}", human_rate(run.schedule.peak),
               run.config.schedule.decay, draw(run.schedule));
}

size_t planned_memory(const Run& run, const Backend& backend, int ranks) {
  return total(memory_of(run, backend, ranks));
}

size_t planned_step_memory(const Run& run, const Backend& backend) {
  const size_t staging =
      backend.in_host_memory() ? CheckpointWriter::staging_bytes(run.table) : size_t{0};
  return planned_memory(run, backend) - staging;
}

void print_memory(size_t planned, size_t peak, const Context& context) {
  const double most = static_cast<double>(peak), expected = static_cast<double>(planned);
  context.note("memory: {} at most, {} planned ({:+.1f}%)", human_bytes(most),
               human_bytes(expected), 100 * (most / expected - 1));
}

nlohmann::ordered_json plan_json(const Run& run, const Backend& backend, int ranks) {
  const std::vector<MemoryRow> memory = memory_of(run, backend, ranks);
  nlohmann::ordered_json json = {{"parameters", parameter_count(run.table)},
                                 {"matmul_parameters", matmul_parameter_count(run.config.model)},
                                 {"flops_per_token", training_flops_per_token(run.config.model)},
                                 {"steps", run.schedule.steps},
                                 {"tokens", run.batch.tokens_before(run.schedule.steps)},
                                 {"batch_tokens", run.batch.tokens()},
                                 {"slots", run.batch.slots},
                                 {"micro_batch", run.batch.micro_batch},
                                 {"memory_bytes", total(memory)}};
  for (const MemoryRow& row : memory) json["memory"][row.kind] = row.bytes;
  return json;
}

}  // namespace isoflop
