#include "pretrain/train/run.hpp"

#include "pretrain/checkpoint/writer.hpp"
#include "pretrain/train/shard_exchange.hpp"

#include <algorithm>

namespace isoflop {

std::vector<MemoryRow> plan_memory(const RunConfig& config,
                                   const ParamTable& table,
                                   const BatchPlan& batch,
                                   DType activation,
                                   DType state,
                                   int ranks) {
  const size_t parameters = ParamBuffer::bytes_for(table, state);
  const ParamTable gradient_table = make_gradient_table(config.model);
  const size_t gradient = ParamBuffer::bytes_for(gradient_table, state);
  const Sharding sharding(table, ranks, 0);
  int64_t sums = 0;
  size_t arriving = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    const SlotRange slots = slots_of(batch.slots, rank, ranks);
    sums = std::max(sums, most_open_sums(batch.slots, slots));
    arriving = std::max(arriving, ShardExchange::bytes_for(Sharding(table, ranks, rank),
                                                           gradient_table, batch.slots, state));
  }
  const BlockShape shape{batch.micro_tokens(), parse_recompute(config.compute.recompute), true};
  std::vector<MemoryRow> rows = {
      {"parameters", parameters},
      {"gradients", gradient * static_cast<size_t>(sums)},
      {"optimizer moments",
       sharding.most_bytes(table, state) + sharding.most_second_moment_bytes(table, state)},
      {"activations", plan_activations(config.model, shape, activation, state).bytes()},
      {"checkpoint staging", CheckpointWriter::staging_bytes(table, sharding)},
  };
  if (config.schedule.quantize != "none") rows.push_back({"weights on the grid", parameters});
  if (const size_t scratch = Muon::scratch_bytes(table, state); scratch > 0)
    rows.push_back({"Muon's scratch", scratch});
  if (ranks > 1) rows.push_back({"gradients of others", arriving});
  if (activation != state)  // the backend's own, as y = x W^T and dx = dy W read them
    rows.push_back(
        {"weights in " + std::string(name_of(activation)),
         2 * size_of(activation) * static_cast<size_t>(matmul_parameter_count(config.model))});
  return rows;
}

}  // namespace isoflop
