#include "cpu/cpu_backend.hpp"

#include <cmath>

namespace isoflop::cpu {

void CpuBackend::adamw(const AdamW& op) {
  const float beta1 = static_cast<float>(op.beta1), beta2 = static_cast<float>(op.beta2);
  const float grad_scale = static_cast<float>(op.grad_scale);
  const float rest1 = static_cast<float>(1 - op.beta1), rest2 = static_cast<float>(1 - op.beta2);
  const float keep = static_cast<float>(1 - op.lr * op.weight_decay);
  const float step = static_cast<float>(op.lr / op.correction1);
  const float inv_correction2 = static_cast<float>(1 / op.correction2);
  const float eps = static_cast<float>(op.eps);
  team_.run(op.p.rows, [&](int64_t r, int) {
    float *p = op.p.row<float>(r), *m = op.m.row<float>(r), *v = op.v.row<float>(r);
    for (int64_t i = 0; i < op.p.cols; ++i) {
      const float g = op.g.row<float>(r)[i] * grad_scale;
      m[i] = beta1 * m[i] + rest1 * g;
      v[i] = beta2 * v[i] + rest2 * g * g;
      p[i] = keep * p[i] - step * m[i] / (std::sqrt(v[i] * inv_correction2) + eps);
    }
  });
}

}  // namespace isoflop::cpu
