// LayerNorm (Ba et al. 2016): y = (x - mean) * inv_std * gain + bias, population variance, eps in
// the root. RMSNorm (Zhang & Sennrich 2019): y = x * inv_rms * gain, inv_rms = 1/sqrt(mean(x^2) +
// eps).
//
// Rows are independent. The backward adds into dx (the residual gradient accumulates) and into the
// parameter gradients. Statistics are kept because recomputing them costs a pass over x.
#pragma once
#include "core/view.hpp"

namespace isoflop {

struct LayerNormForward {
  View x;              // (N, D)
  View gain;           // (D), state dtype
  View bias;           // (D) or absent
  View y;              // (N, D)
  View mean, inv_std;  // (N, 1), state dtype
  double eps = 1e-5;
};
struct LayerNormBackward {
  View dy, x;          // (N, D)
  View gain;           // (D)
  View mean, inv_std;  // (N, 1)
  View dx_add;         // (N, D)  dx_add += dL/dx
  View dgain;          // (D)     +=, state dtype
  View dbias;          // (D)     +=, or absent
};

struct RmsNormForward {
  View x;        // (N, D)
  View gain;     // (D)
  View y;        // (N, D)
  View inv_rms;  // (N, 1), state dtype
  double eps = 1e-5;
};
struct RmsNormBackward {
  View dy, x;    // (N, D)
  View gain;     // (D)
  View inv_rms;  // (N, 1)
  View dx_add;   // (N, D)  dx_add += dL/dx
  View dgain;    // (D)     +=, state dtype
};

}  // namespace isoflop
