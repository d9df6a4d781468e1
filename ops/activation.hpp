// GELU (Hendrycks & Gimpel 2016; tanh form as in GPT-2, erf form exact) and SwiGLU (Shazeer 2020).
#pragma once
#include "core/view.hpp"

namespace isoflop {

enum class Gelu { tanh, erf };

struct GeluForward {
  View x, y;  // (N, F); y may be x
  Gelu kind = Gelu::tanh;
};
struct GeluBackward {
  View dy, x, dx;  // (N, F); dx may be dy
  Gelu kind = Gelu::tanh;
};

/// y = silu(gate) * up
struct SwigluForward {
  View gate, up, y;  // (N, F)
};
struct SwigluBackward {
  View dy, gate, up;  // (N, F)
  View dgate, dup;    // (N, F)
};

}  // namespace isoflop
