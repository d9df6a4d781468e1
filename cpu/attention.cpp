#include "cpu/cpu_backend.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace isoflop::cpu {

void CpuBackend::attention_forward(const AttentionForward& op) {
  const AttentionShape& s = op.shape;
  const int64_t hd = s.head_dim, group = s.heads / s.kv_heads;
  const float scale = static_cast<float>(s.scale);
  team_.run(s.batch * s.heads, [&](int64_t tile, int) {
    const int64_t b = tile / s.heads, h = tile % s.heads, kh = h / group;
    for (int64_t i = 0; i < s.queries; ++i) {
      const float* q = op.q.row<float>(b * s.queries + i) + h * hd;
      float* out = op.out.row<float>(b * s.queries + i) + h * hd;
      std::fill(out, out + hd, 0.0f);
      float max = -std::numeric_limits<float>::infinity(), sum = 0;
      for (int64_t j = 0; j <= s.keys - s.queries + i; ++j) {
        const float* k = op.k.row<float>(b * s.key_stride() + j) + kh * hd;
        const float* v = op.v.row<float>(b * s.key_stride() + j) + kh * hd;
        float score = 0;
        for (int64_t d = 0; d < hd; ++d) score += q[d] * k[d];
        score *= scale;
        const float top = std::max(max, score), old = std::exp(max - top),
                    p = std::exp(score - top);
        for (int64_t d = 0; d < hd; ++d) out[d] = out[d] * old + p * v[d];
        sum = sum * old + p;
        max = top;
      }
      for (int64_t d = 0; d < hd; ++d) out[d] /= sum;
      if (op.lse) op.lse.row<float>(b * s.queries + i)[h] = max + std::log(sum);
    }
  });
}

void CpuBackend::attention_backward(const AttentionBackward& op) {
  const AttentionShape& s = op.shape;
  const int64_t hd = s.head_dim, group = s.heads / s.kv_heads, T = s.queries;
  const float scale = static_cast<float>(s.scale);
  team_.run(s.batch * s.kv_heads, [&](int64_t tile, int) {
    const int64_t b = tile / s.kv_heads, kh = tile % s.kv_heads;
    for (int64_t j = 0; j < T; ++j) {
      std::fill_n(op.dk.row<float>(b * s.key_stride() + j) + kh * hd, hd, 0.0f);
      std::fill_n(op.dv.row<float>(b * s.key_stride() + j) + kh * hd, hd, 0.0f);
    }
    for (int64_t h = kh * group; h < (kh + 1) * group; ++h)
      for (int64_t i = 0; i < T; ++i) {
        const int64_t r = b * T + i;
        const float *q = op.q.row<float>(r) + h * hd, *dout = op.dout.row<float>(r) + h * hd;
        const float* out = op.out.row<float>(r) + h * hd;
        float* dq = op.dq.row<float>(r) + h * hd;
        const float lse = op.lse.row<float>(r)[h];
        float delta = 0;
        for (int64_t d = 0; d < hd; ++d) delta += dout[d] * out[d];
        std::fill_n(dq, hd, 0.0f);
        for (int64_t j = 0; j <= i; ++j) {
          const int64_t kr = b * s.key_stride() + j;
          const float *k = op.k.row<float>(kr) + kh * hd, *v = op.v.row<float>(kr) + kh * hd;
          float *dk = op.dk.row<float>(kr) + kh * hd, *dv = op.dv.row<float>(kr) + kh * hd;
          float score = 0, dp = 0;
          for (int64_t d = 0; d < hd; ++d) score += q[d] * k[d], dp += dout[d] * v[d];
          const float p = std::exp(score * scale - lse), ds = p * (dp - delta) * scale;
          for (int64_t d = 0; d < hd; ++d) {
            dv[d] += p * dout[d];
            dk[d] += ds * q[d];
            dq[d] += ds * k[d];
          }
        }
      }
  });
}

}  // namespace isoflop::cpu
