#include "pretrain/train/layer_stats.hpp"

#include "ops/host_copy.hpp"

#include <cmath>

namespace isoflop {

namespace {

double norm_of_difference(View a, View b) {
  double sum = 0;
  for (int64_t r = 0; r < a.rows; ++r)
    for (int64_t c = 0; c < a.cols; ++c) {
      const double d = load_scalar(a, r, c) - load_scalar(b, r, c);
      sum += d * d;
    }
  return std::sqrt(sum);
}

}  // namespace

LayerStats::LayerStats(const ParamTable& table, Backend& backend, const std::vector<bool>& holds)
    : table_(table),
      backend_(backend),
      old_(table,
           backend.state_dtype(),
           "the parameters before an update",
           holds,
           allocator_of(backend)) {
  for (const ParamSpec& spec : table)
    for (const char* what : {"weight_norm", "grad_norm", "update_ratio"})
      names_.push_back("layer/" + spec.name + "/" + what);
  for (const std::string& name : names_) metrics_.push_back({name, 0});
}

void LayerStats::before(const ParamBuffer& parameters, const ParamBuffer& gradients) {
  for (size_t i = 0; i < table_.size(); ++i) {
    if (!old_[i]) continue;
    backend_.copy(parameters[i], old_[i]);
    metrics_[3 * i + 1].value = std::sqrt(backend_.sum_squares(gradients[i]));
  }
}

void LayerStats::after(const ParamBuffer& parameters) {
  read_on_host(backend_, parameters, [&](const ParamBuffer& now) {
    read_on_host(backend_, old_, [&](const ParamBuffer& old) {
      for (size_t i = 0; i < table_.size(); ++i) {
        if (!old[i]) continue;
        metrics_[3 * i].value = std::sqrt(backend_.sum_squares(parameters[i]));
        const double old_norm = std::sqrt(backend_.sum_squares(old_[i]));
        // A bias starts at zero: its first update has no size to be compared with.
        const double change = norm_of_difference(now[i], old[i]);
        metrics_[3 * i + 2].value = old_norm > 0 ? change / old_norm : 0;
      }
    });
  });
}

}  // namespace isoflop
