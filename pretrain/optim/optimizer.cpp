#include "pretrain/optim/optimizer.hpp"

#include "core/hash.hpp"
#include "core/math.hpp"
#include "core/rng.hpp"
#include "ops/host_copy.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop {

double gradient_norm(const ParamTable& table, const ParamBuffer& gradients, Backend& backend) {
  return std::sqrt(backend.sum_squares_all(gradients.views().first(table.size())));
}

double gradient_norm(std::span<const int64_t> chunks,
                     std::span<const double> chunk_squares,
                     const Backend& backend) {
  return std::sqrt(backend.sum_chunks(chunk_squares, chunks));
}

double clip_factor(double norm, double clip) {
  return clip > 0 ? std::min(1.0, clip / (norm + 1e-6)) : 1.0;
}

DType moment_dtype(const OptimizerConfig& config, DType state) {
  return config.state == "bf16" ? DType::bf16 : state;
}

/// The random numbers of `rows` of a tensor at update number `updates`. They follow the element's
/// place in the tensor, so that ranks may share it in any way; 2^40 draws of four are kept for each
/// update. Shares begin at multiples of four elements (parallel/sharding.hpp).
static RandomRounding rounding_of(const ParamSpec& spec,
                                  RowRange rows,
                                  uint64_t seed,
                                  int64_t updates) {
  const auto first = static_cast<uint64_t>(rows.first * spec.cols);
  ISOFLOP_CHECK(first % 4 == 0, "a share of {} begins at element {}", spec.name, first);
  return {.seed = seed,
          .stream =
              rng_stream(RngUse::stochastic_rounding, static_cast<uint32_t>(hash_text(spec.name))),
          .counter = (static_cast<uint64_t>(updates) << 40) + first / 4};
}

Optimizer::Optimizer(const ParamTable& table,
                     const OptimizerConfig& config,
                     Backend& backend,
                     const Sharding& sharding,
                     uint64_t seed)
    : m(sharding.buffer(table,
                        moment_dtype(config, backend.state_dtype()),
                        "first moments",
                        allocator_of(backend))),
      v(sharding.second_moments(table,
                                moment_dtype(config, backend.state_dtype()),
                                "second moments",
                                allocator_of(backend))),
      table_(table),
      config_(config),
      backend_(backend),
      sharding_(sharding),
      seed_(seed),
      muon_(table, backend) {
  list_.reserve(table.size());
}

void Optimizer::update(Bucket bucket,
                       ParamBuffer& parameters,
                       const ParamBuffer& gradients,
                       double rate,
                       double grad_scale,
                       int64_t updates,
                       View factor) {
  const double t = static_cast<double>(updates + 1);
  list_.clear();
  for (size_t i = bucket.first; i < bucket.last; ++i) {
    const RowRange rows = sharding_.rows(i);
    if (rows.count == 0) continue;
    const ParamSpec& spec = table_[i];
    const View p = rows_of(parameters[i], rows), g = rows_of(gradients[i], rows);
    const double lr = rate * spec.lr_scale;
    const double weight_decay = spec.decay ? config_.weight_decay * spec.decay_scale : 0.0;
    if (spec.update == Update::muon) {
      ISOFLOP_CHECK(!factor, "a factor on the device for {}", spec.name);
      muon_.update(backend_, spec,
                   {.p = p,
                    .g = g,
                    .m = m[i],
                    .lr = lr,
                    .momentum = config_.momentum,
                    .weight_decay = weight_decay,
                    .grad_scale = grad_scale});
      continue;
    }
    list_.push_back({.p = p,
                     .g = g,
                     .m = m[i],
                     .v = v[i],
                     .lr = lr,
                     .beta1 = config_.beta1,
                     .beta2 = config_.beta2,
                     .eps = config_.eps * spec.eps_scale,
                     .weight_decay = weight_decay,
                     .correction1 = 1 - std::pow(config_.beta1, t),
                     .correction2 = 1 - std::pow(config_.beta2, t),
                     .grad_scale = grad_scale,
                     .factor = factor,
                     .rounding = rounding_of(spec, rows, seed_, updates)});
  }
  backend_.adamw_all(list_);
}

bool Optimizer::takes_factor() const {
  return std::none_of(table_.begin(), table_.end(),
                      [](const ParamSpec& spec) { return spec.update == Update::muon; });
}

}  // namespace isoflop
