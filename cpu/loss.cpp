#include "cpu/cpu_backend.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop::cpu {

void CpuBackend::cross_entropy(const CrossEntropy& op) {
  const int64_t V = op.logits.cols;
  team_.run(op.logits.rows, [&](int64_t r, int) {
    float* x = op.logits.row<float>(r);
    const int32_t target = op.targets[static_cast<size_t>(r)];
    const float max = *std::max_element(x, x + V);
    double sum = 0;
    for (int64_t i = 0; i < V; ++i) sum += std::exp(x[i] - max);
    *op.losses.row<float>(r) =
        target == kIgnoreTarget ? 0.0f : static_cast<float>(std::log(sum) - (x[target] - max));
    if (op.grad_scale == 0) return;
    const float scale = target == kIgnoreTarget ? 0.0f : static_cast<float>(op.grad_scale / sum);
    for (int64_t i = 0; i < V; ++i) x[i] = std::exp(x[i] - max) * scale;
    if (target != kIgnoreTarget) x[target] -= static_cast<float>(op.grad_scale);
  });
}

}  // namespace isoflop::cpu
