// The optimizer over all tensors, and the gradient norm it is clipped by. Each tensor is updated as
// its row of the table says: by AdamW (ops/optimizer.hpp) or, whole, by Muon (muon.hpp).
#pragma once
#include "core/param.hpp"
#include "ops/backend.hpp"
#include "parallel/sharding.hpp"
#include "pretrain/config/run_config.hpp"
#include "pretrain/optim/muon.hpp"

#include <span>
#include <vector>

namespace isoflop {

/// sqrt of the sum of squares, tensors in table order, in double. Not finite when any gradient is
/// not.
double gradient_norm(const ParamTable& table, const ParamBuffer& gradients, Backend& backend);

/// The same from the sums of squares of all chunks of kNormChunk elements, in table order;
/// `chunks`: how many of them each tensor has. What a single rank's step comes to on `backend`.
double gradient_norm(std::span<const int64_t> chunks,
                     std::span<const double> chunk_squares,
                     const Backend& backend);

/// min(1, clip / (norm + 1e-6)); 1 when clip is 0 (off).
double clip_factor(double norm, double clip);

/// What moments are kept in where masters are in `state`.
DType moment_dtype(const OptimizerConfig& config, DType state);

class Optimizer {
 public:
  /// The moments lie in the backend's memory.
  Optimizer(const ParamTable& table, const OptimizerConfig& config, Backend& backend)
      : Optimizer(table, config, backend, Sharding(table), 0) {}
  /// Of one rank's share; `seed` of the random rounding of moments in bf16.
  Optimizer(const ParamTable& table,
            const OptimizerConfig& config,
            Backend& backend,
            const Sharding& sharding,
            uint64_t seed);

  /// One update of the tensors of a bucket, of the rows that are ours; whole buffers of parameters
  /// and gradients; decay only where the spec says so. `updates` counts those before. `factor`: on
  /// the device (AdamW::factor), for optimizers that take one; else absent.
  void update(Bucket bucket,
              ParamBuffer& parameters,
              const ParamBuffer& gradients,
              double rate,
              double grad_scale,
              int64_t updates,
              View factor = {});
  /// Of every tensor.
  void update(ParamBuffer& parameters,
              const ParamBuffer& gradients,
              double rate,
              double grad_scale,
              int64_t updates,
              View factor = {}) {
    update({0, table_.size()}, parameters, gradients, rate, grad_scale, updates, factor);
  }
  /// Muon's norms are the host's.
  bool takes_factor() const;

  ParamBuffer m, v;  // first moments, or momentum, and second moments where there are; of our rows

 private:
  const ParamTable& table_;
  OptimizerConfig config_;
  Backend& backend_;
  Sharding sharding_;
  uint64_t seed_;
  Muon muon_;
  std::vector<AdamW> list_;  // of the update at hand
};

}  // namespace isoflop
