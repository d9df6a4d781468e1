#include "cpu/cpu_backend.hpp"

#include <cmath>

namespace isoflop::cpu {

void CpuBackend::layernorm_forward(const LayerNormForward& op) {
  const int64_t D = op.x.cols;
  team_.run(op.x.rows, [&](int64_t r, int) {
    const float* x = op.x.row<float>(r);
    float* y = op.y.row<float>(r);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < D; ++i) sum += x[i];
    const double mean = sum / static_cast<double>(D);
    for (int64_t i = 0; i < D; ++i) squares += (x[i] - mean) * (x[i] - mean);
    const double inv = 1 / std::sqrt(squares / static_cast<double>(D) + op.eps);
    for (int64_t i = 0; i < D; ++i)
      y[i] =
          static_cast<float>((x[i] - mean) * inv) * op.gain.as<float>()[i] + op.bias.as<float>()[i];
    *op.mean.row<float>(r) = static_cast<float>(mean);
    *op.inv_std.row<float>(r) = static_cast<float>(inv);
  });
}

void CpuBackend::layernorm_backward(const LayerNormBackward& op) {
  const int64_t D = op.x.cols;
  team_.run(1, [&](int64_t, int) {
    for (int64_t r = 0; r < op.x.rows; ++r) {
      const float *x = op.x.row<float>(r), *dy = op.dy.row<float>(r), *gain = op.gain.as<float>();
      const float mean = *op.mean.row<float>(r), inv = *op.inv_std.row<float>(r);
      double a = 0, b = 0;
      for (int64_t i = 0; i < D; ++i) {
        const float xhat = (x[i] - mean) * inv, g = dy[i] * gain[i];
        a += g;
        b += g * xhat;
        op.dgain.as<float>()[i] += dy[i] * xhat;
        op.dbias.as<float>()[i] += dy[i];
      }
      const float fa = static_cast<float>(a / static_cast<double>(D));
      const float fb = static_cast<float>(b / static_cast<double>(D));
      for (int64_t i = 0; i < D; ++i)
        op.dx_add.row<float>(r)[i] += (dy[i] * gain[i] - fa - (x[i] - mean) * inv * fb) * inv;
    }
  });
}

void CpuBackend::rmsnorm_forward(const RmsNormForward& op) {
  const int64_t D = op.x.cols;
  team_.run(op.x.rows, [&](int64_t r, int) {
    const float* x = op.x.row<float>(r);
    double squares = 0;
    for (int64_t i = 0; i < D; ++i) squares += static_cast<double>(x[i]) * x[i];
    const float inv = static_cast<float>(1 / std::sqrt(squares / static_cast<double>(D) + op.eps));
    for (int64_t i = 0; i < D; ++i) op.y.row<float>(r)[i] = x[i] * inv * op.gain.as<float>()[i];
    *op.inv_rms.row<float>(r) = inv;
  });
}

void CpuBackend::rmsnorm_backward(const RmsNormBackward& op) {
  const int64_t D = op.x.cols;
  team_.run(1, [&](int64_t, int) {
    for (int64_t r = 0; r < op.x.rows; ++r) {
      const float *x = op.x.row<float>(r), *dy = op.dy.row<float>(r), *gain = op.gain.as<float>();
      const float inv = *op.inv_rms.row<float>(r);
      double b = 0;
      for (int64_t i = 0; i < D; ++i) {
        b += dy[i] * gain[i] * (x[i] * inv);
        op.dgain.as<float>()[i] += dy[i] * (x[i] * inv);
      }
      const float fb = static_cast<float>(b / static_cast<double>(D));
      for (int64_t i = 0; i < D; ++i)
        op.dx_add.row<float>(r)[i] += (dy[i] * gain[i] - x[i] * inv * fb) * inv;
    }
  });
}

}  // namespace isoflop::cpu
