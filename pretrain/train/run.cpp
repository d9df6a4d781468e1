#include "pretrain/train/run.hpp"

#include "pretrain/checkpoint/writer.hpp"

namespace isoflop {

std::vector<MemoryRow> plan_memory(const RunConfig& config,
                                   const ParamTable& table,
                                   const BatchPlan& batch,
                                   DType activation,
                                   DType state) {
  const size_t parameters = ParamBuffer::bytes_for(table, state);
  const size_t gradient = ParamBuffer::bytes_for(make_gradient_table(config.model), state);
  const BlockShape shape{batch.micro_tokens(), parse_recompute(config.compute.recompute), true};
  std::vector<MemoryRow> rows = {
      {"parameters", parameters},
      {"gradients", gradient * static_cast<size_t>(GradientTree::buffers_for(batch.slots))},
      {"optimizer moments", 2 * parameters},
      {"activations", plan_activations(config.model, shape, activation, state).bytes()},
      {"checkpoint staging", CheckpointWriter::staging_bytes(table)},
  };
  if (activation != state)  // the backend's own, as y = x W^T and dx = dy W read them
    rows.push_back(
        {"weights in " + std::string(name_of(activation)),
         2 * size_of(activation) * static_cast<size_t>(matmul_parameter_count(config.model))});
  return rows;
}

}  // namespace isoflop
