// How fast each operation is at the shapes of training, against what limits it: the rate of matrix
// products or the bandwidth of memory, both measured here.
#pragma once
#include "ops/backend.hpp"
#include "ops/work.hpp"

#include <functional>
#include <string>
#include <vector>

namespace isoflop {

struct MachineLimits {
  double flops = 0;  // per second, of the best of a few products
  double bytes = 0;  // per second, of memory

  /// Seconds that the work takes at the least.
  double seconds_of(const OpWork& work) const;
};

struct OpBench {
  std::string name;    // as in Backend
  std::string shape;   // for people: "2048x384 by 1152x384"
  double seconds = 0;  // median
  OpWork work;
};

struct OpsBench {
  MachineLimits limits;
  std::vector<OpBench> operations;
};

/// Those whose name contains `filter`; `done` hears each as it is measured, with the limits known.
/// UserError, naming all, when there is none.
OpsBench bench_ops(Backend& backend,
                   const std::string& filter,
                   const std::function<void(const MachineLimits&, const OpBench&)>& done);

}  // namespace isoflop
