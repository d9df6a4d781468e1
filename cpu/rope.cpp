#include "cpu/cpu_backend.hpp"

namespace isoflop::cpu {

void CpuBackend::rope(const Rope& op) {
  const int64_t half = op.rotary_dim / 2, heads = op.x.cols / op.head_dim;
  const bool interleaved = op.pairs == RopePairs::interleaved;
  team_.run(op.x.rows, [&](int64_t r, int) {
    const int64_t position = op.first_position + r % op.tokens;
    const float *cos = op.cos.row<float>(position), *sin = op.sin.row<float>(position);
    for (int64_t h = 0; h < heads; ++h) {
      float* x = op.x.row<float>(r) + h * op.head_dim;
      for (int64_t j = 0; j < half; ++j) {
        float &a = x[interleaved ? 2 * j : j], &b = x[interleaved ? 2 * j + 1 : j + half];
        const float s = op.inverse ? -sin[j] : sin[j], a0 = a;
        a = a0 * cos[j] - b * s;
        b = a0 * s + b * cos[j];
      }
    }
  });
}

}  // namespace isoflop::cpu
