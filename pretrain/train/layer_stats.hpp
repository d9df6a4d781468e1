// Statistics of every parameter over one update: what one looks at when a run misbehaves.
#pragma once
#include "core/param.hpp"
#include "ops/backend.hpp"
#include "report/metrics.hpp"

#include <string>
#include <vector>

namespace isoflop {

class LayerStats {
 public:
  /// Sets aside a copy of the parameters; of those with holds[i], whose metrics are all it fills.
  LayerStats(const ParamTable& table, Backend& backend, const std::vector<bool>& holds);

  void before(const ParamBuffer& parameters, const ParamBuffer& gradients);
  void after(const ParamBuffer& parameters);

  /// Of the last update, three a parameter:
  ///   layer/NAME/weight_norm   after the update
  ///   layer/NAME/grad_norm     before clipping
  ///   layer/NAME/update_ratio  norm of the change / norm of the weight before
  const std::vector<Metric>& metrics() const { return metrics_; }
  std::vector<Metric>& metrics() { return metrics_; }

  static size_t bytes(const ParamTable& table, DType state) {
    return ParamBuffer::bytes_for(table, state);
  }

 private:
  const ParamTable& table_;
  Backend& backend_;
  ParamBuffer old_;
  std::vector<std::string> names_;  // the metrics borrow them
  std::vector<Metric> metrics_;
};

}  // namespace isoflop
