// Small integer arithmetic that refuses to truncate silently.
#pragma once
#include "core/error.hpp"

#include <cstdint>
#include <limits>

namespace isoflop {

constexpr int64_t div_ceil(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr int64_t round_up(int64_t a, int64_t multiple) {
  return div_ceil(a, multiple) * multiple;
}

inline int64_t div_exact(int64_t a, int64_t b) {
  ISOFLOP_CHECK(b != 0 && a % b == 0, "{} is not a multiple of {}", a, b);
  return a / b;
}

template <class To, class From>
To narrow(From value) {
  const To result = static_cast<To>(value);
  ISOFLOP_CHECK(static_cast<From>(result) == value && ((result < To{}) == (value < From{})),
                "{} does not fit the narrower type", value);
  return result;
}

/// False when a * b does not fit; for sizes read from files.
inline bool checked_multiply(uint64_t a, uint64_t b, uint64_t& out) {
  return !__builtin_mul_overflow(a, b, &out);
}
inline bool checked_add(uint64_t a, uint64_t b, uint64_t& out) {
  return !__builtin_add_overflow(a, b, &out);
}

}  // namespace isoflop
