// ObservingBackend: another backend, which copies what the modules of a model compute on the way.
// Modules are known by the weight that is multiplied by. Results are those of the other backend.
#pragma once
#include "core/param.hpp"
#include "muP/coord_check.hpp"
#include "ops/forwarding_backend.hpp"

#include <array>
#include <map>
#include <vector>

namespace isoflop {

/// Values by module, layer after layer.
using Observation = std::array<std::vector<float>, std::size(kCoordModules)>;

class ObservingBackend final : public ForwardingBackend {
 public:
  /// All outlive it.
  ObservingBackend(Backend& backend, const ParamTable& table)
      : ForwardingBackend(backend), table_(table) {}

  /// Where the parameters of the table lie: whose weight a product is with.
  void know(const ParamBuffer& masters) { masters_ = &masters; }
  /// Copies until called with null.
  void observe(Observation* observation) { observation_ = observation; }

  WeightRef prepare(View master) override;
  void embedding_forward(const EmbeddingForward& op) override;
  void matmul(const Matmul& op) override;
  void attention_forward(const AttentionForward& op) override;

 private:
  void keep(CoordModule module, View values);

  const ParamTable& table_;
  const ParamBuffer* masters_ = nullptr;
  std::map<const void*, const void*> masters_of_;  // a weight's handle -> its master's data
  Observation* observation_ = nullptr;
  Buffer scratch_;
};

}  // namespace isoflop
