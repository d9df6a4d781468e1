#include "cpu/cpu_backend.hpp"

#include <cmath>

namespace isoflop::cpu {

constexpr float kSqrt2OverPi = 0.7978845608f, kCubic = 0.044715f;

static float gelu(float x, Gelu kind) {
  if (kind == Gelu::erf) return 0.5f * x * (1 + std::erf(x * 0.70710678f));
  return 0.5f * x * (1 + std::tanh(kSqrt2OverPi * (x + kCubic * x * x * x)));
}

static float gelu_slope(float x, Gelu kind) {
  if (kind == Gelu::erf)
    return 0.5f * (1 + std::erf(x * 0.70710678f)) + x * 0.3989422804f * std::exp(-0.5f * x * x);
  const float t = std::tanh(kSqrt2OverPi * (x + kCubic * x * x * x));
  return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * kSqrt2OverPi * (1 + 3 * kCubic * x * x);
}

void CpuBackend::gelu_forward(const GeluForward& op) {
  team_.run(op.x.rows, [&](int64_t r, int) {
    for (int64_t i = 0; i < op.x.cols; ++i)
      op.y.row<float>(r)[i] = gelu(op.x.row<float>(r)[i], op.kind);
  });
}

void CpuBackend::gelu_backward(const GeluBackward& op) {
  team_.run(op.x.rows, [&](int64_t r, int) {
    for (int64_t i = 0; i < op.x.cols; ++i)
      op.dx.row<float>(r)[i] = op.dy.row<float>(r)[i] * gelu_slope(op.x.row<float>(r)[i], op.kind);
  });
}

void CpuBackend::swiglu_forward(const SwigluForward& op) {
  team_.run(op.y.rows, [&](int64_t r, int) {
    const float *gate = op.gate.row<float>(r), *up = op.up.row<float>(r);
    for (int64_t i = 0; i < op.y.cols; ++i)
      op.y.row<float>(r)[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
  });
}

void CpuBackend::swiglu_backward(const SwigluBackward& op) {
  team_.run(op.dy.rows, [&](int64_t r, int) {
    for (int64_t i = 0; i < op.dy.cols; ++i) {
      const float g = op.gate.row<float>(r)[i], u = op.up.row<float>(r)[i],
                  dy = op.dy.row<float>(r)[i];
      const float s = 1 / (1 + std::exp(-g));
      op.dgate.row<float>(r)[i] = dy * u * s * (1 + g * (1 - s));
      op.dup.row<float>(r)[i] = dy * g * s;
    }
  });
}

}  // namespace isoflop::cpu
