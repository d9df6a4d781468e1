#include "pretrain/train/run.hpp"

#include "pretrain/checkpoint/writer.hpp"
#include "pretrain/optim/optimizer.hpp"
#include "pretrain/train/shard_exchange.hpp"

#include <algorithm>

namespace isoflop {

namespace {

/// Of the matrices that a stage multiplies by; tables that are only looked up do not count.
int64_t multiplied_elements(const ModelConfig& model,
                            const ParamTable& table,
                            const Sharding& sharding) {
  int64_t elements = 0;
  for (size_t i = 0; i < table.size(); ++i)
    if (sharding.in_stage(i) && !table[i].is_vector() && table[i].role != ParamRole::embedding)
      elements += table[i].size();
  const bool tied_head = model.tied_embeddings && sharding.grid().last_stage();
  return elements + (tied_head ? table.back().size() : 0);
}

/// Of all matrices that a stage has.
int64_t matrix_elements(const ParamTable& table, const std::vector<bool>& holds) {
  int64_t elements = 0;
  for (size_t i = 0; i < table.size(); ++i)
    if (holds[i] && !table[i].is_vector()) elements += table[i].size();
  return elements;
}

size_t held_bytes(const ParamTable& table, DType dtype, const std::vector<bool>& holds) {
  ParamTable held;
  for (size_t i = 0; i < table.size(); ++i)
    if (holds[i]) held.push_back(table[i]);
  return ParamBuffer::bytes_for(held, dtype);
}

std::vector<MemoryRow> memory_of_rank(const RunConfig& config,
                                      const ParamTable& whole,
                                      const BatchPlan& batch,
                                      DType activation,
                                      DType state,
                                      const ProcessGrid& grid,
                                      MemoryOf where) {
  const Sharding sharding(whole, grid);
  const ParamTable table = sharding.part_of_table(whole);
  const ModelConfig model = part_of_model(config.model, grid.place().tp, grid.shape().tp);
  const ParamTable gradient_table = make_gradient_table(model);
  const SlotRange slots = slots_of(batch.slots, grid.place().dp, grid.shape().dp);
  const BlockShape shape = block_shape(config, batch, grid);
  const auto share = [&](DType dtype) {
    return ParamBuffer::bytes_for(sharding.table_of(whole, grid.rank()), dtype);
  };
  const auto moments = [&](DType dtype) {
    return share(dtype) + sharding.second_moment_bytes(whole, dtype, grid.rank());
  };
  const std::vector<bool> holds = held_parameters(config.model, sharding);
  std::vector<MemoryRow> rows = {
      {"parameters", held_bytes(table, state, holds)},
      {"gradients", held_bytes(gradient_table, state, held_gradients(config.model, sharding)) *
                        static_cast<size_t>(most_open_sums(batch.slots, slots))},
      {"optimizer moments", moments(moment_dtype(config.optimizer, state))},
      {"activations", plan_activations(model, shape, activation, state).bytes()},
  };
  if (where == MemoryOf::host)
    rows.push_back({"checkpoint staging", share(DType::f32) + moments(DType::f32)});
  if (config.schedule.quantize != "none") rows.push_back({"weights on the grid", rows[0].bytes});
  if (const size_t scratch = Muon::scratch_bytes(table, state); scratch > 0)
    rows.push_back({"Muon's scratch", scratch});
  if (grid.shape().ranks() > 1)
    rows.push_back({"gradients of others",
                    ShardExchange::bytes_for(sharding, table, gradient_table, batch.slots, state)});
  if (grid.shape().pp > 1)
    rows.push_back({"stage messages",
                    StageLinks::bytes_for(grid.place().pp, grid.shape().pp, shape.largest_slice(),
                                          config.model.d_model, activation)});
  if (grid.shape().tp > 1)
    rows.push_back(
        {"shared matrices", TensorParallel::bytes_for(grid.shape().tp, batch.micro_tokens(),
                                                      config.model.d_model, activation)});
  // The backend's own copies: a CPU's as y = x W^T and as dx = dy W read them; one of each matrix
  // on a device, looked up or multiplied by.
  const int64_t copied = where == MemoryOf::host ? 2 * multiplied_elements(model, table, sharding)
                                                 : matrix_elements(table, holds);
  if (activation != state)
    rows.push_back({"weights in " + std::string(name_of(activation)),
                    size_of(activation) * static_cast<size_t>(copied)});
  return rows;
}

size_t total(const std::vector<MemoryRow>& rows) {
  size_t sum = 0;
  for (const MemoryRow& row : rows) sum += row.bytes;
  return sum;
}

}  // namespace

std::vector<MemoryRow> plan_memory(const RunConfig& config,
                                   const ParamTable& table,
                                   const BatchPlan& batch,
                                   DType activation,
                                   DType state,
                                   int ranks,
                                   MemoryOf where) {
  const GridShape shape = ranks > 1 ? grid_shape(config, ranks) : GridShape{};
  std::vector<MemoryRow> most;
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<MemoryRow> rows =
        memory_of_rank(config, table, batch, activation, state, ProcessGrid(shape, rank), where);
    if (rank == 0 || total(rows) > total(most)) most = std::move(rows);
  }
  return most;
}

}  // namespace isoflop
