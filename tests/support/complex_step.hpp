// Derivatives by complex step (Squire & Trapp 1998): f'(x) = Im f(x + ih) / h with h = 1e-100.
//
// No difference of nearly equal numbers, so the result is exact to rounding. It holds for code that
// is analytic in its inputs: maxima compare real parts, no absolute value, no conjugate. Code that
// counts (tokens, targets) is not perturbed. A model runs this way on
// make_reference_backend(DType::c128).
#pragma once
#include <complex>

namespace isoflop::test {

inline constexpr double kComplexStep = 1e-100;

/// d f / d x, where f() reads x and returns a std::complex<double>. x is restored.
template <class Function>
double complex_step(std::complex<double>& x, Function f) {
  const std::complex<double> saved = x;
  x += std::complex<double>(0, kComplexStep);
  const double derivative = f().imag() / kComplexStep;
  x = saved;
  return derivative;
}

}  // namespace isoflop::test
