// What the definitions in this folder need of a scalar S: float, double, or std::complex<double>.
//
// Complex numbers are here for the complex step (Squire & Trapp 1998): the derivative of an
// analytic f is Im f(x + ih) / h, without cancellation, so h may be 1e-100. Hence maxima compare
// real parts and no definition takes an absolute value or a conjugate.
#pragma once
#include "core/view.hpp"
#include "ops/matmul.hpp"

#include <complex>

namespace isoflop::reference {

inline double real_part(float x) {
  return x;
}
inline double real_part(double x) {
  return x;
}
inline double real_part(std::complex<double> x) {
  return x.real();
}

/// What a WeightRef made by a reference backend points at: the master itself, so refresh has
/// nothing to do.
struct Weight {
  View master;  // (out, in)
};
inline View master_of(WeightRef w) {
  return static_cast<const Weight*>(w.handle)->master;
}

}  // namespace isoflop::reference
