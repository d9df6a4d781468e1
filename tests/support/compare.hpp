// Filling and comparing tensors of any float dtype.
#pragma once
#include "core/buffer.hpp"
#include "core/rng.hpp"
#include "core/view.hpp"

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstring>
#include <limits>

namespace isoflop::test {

/// Element (r, c) of a float view; the real part of a complex one.
inline double value_at(View v, int64_t r, int64_t c) {
  switch (v.dtype) {
    case DType::f32:
      return v.row<float>(r)[c];
    case DType::bf16:
      return to_float(v.row<bf16>(r)[c]);
    case DType::f16:
      return to_float(v.row<f16>(r)[c]);
    case DType::f64:
      return v.row<double>(r)[c];
    case DType::c128:
      return v.row<std::complex<double>>(r)[c].real();
    default:
      break;
  }
  ISOFLOP_CHECK(false, "{} is no float dtype", name_of(v.dtype));
}

inline void set_value(View v, int64_t r, int64_t c, double x) {
  switch (v.dtype) {
    case DType::f32:
      v.row<float>(r)[c] = static_cast<float>(x);
      return;
    case DType::bf16:
      v.row<bf16>(r)[c] = to_bf16(static_cast<float>(x));
      return;
    case DType::f16:
      v.row<f16>(r)[c] = to_f16(static_cast<float>(x));
      return;
    case DType::f64:
      v.row<double>(r)[c] = x;
      return;
    case DType::c128:
      v.row<std::complex<double>>(r)[c] = x;
      return;
    default:
      break;
  }
  ISOFLOP_CHECK(false, "{} is no float dtype", name_of(v.dtype));
}

inline void fill(View v, double x) {
  for (int64_t r = 0; r < v.rows; ++r)
    for (int64_t c = 0; c < v.cols; ++c) set_value(v, r, c, x);
}

/// Outputs start as NaN, so that an element nobody writes is noticed.
inline void poison(View v) {
  fill(v, std::numeric_limits<double>::quiet_NaN());
}

/// Normal numbers that float holds exactly, so that every dtype from float up starts from the same.
inline void fill_normal(View v, uint64_t seed, double scale = 1, double mean = 0) {
  for (int64_t r = 0; r < v.rows; ++r)
    for (int64_t c = 0; c < v.cols; ++c) {
      const uint64_t element = static_cast<uint64_t>(r * v.cols + c);
      const double x = mean + scale * normal01(seed, rng_stream(RngUse::probe, 0), element);
      set_value(v, r, c, static_cast<float>(x));
    }
}

/// max |got - want| / max |want|. NaN equals NaN in the same place (untouched poison); NaN in only
/// one of the two, or another shape, is an infinite error.
inline double relative_error(View got, View want) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (got.rows != want.rows || got.cols != want.cols) return kInfinity;
  double error = 0, largest = 0;
  for (int64_t r = 0; r < want.rows; ++r)
    for (int64_t c = 0; c < want.cols; ++c) {
      const double g = value_at(got, r, c), w = value_at(want, r, c);
      if (std::isnan(g) && std::isnan(w)) continue;
      if (!std::isfinite(g) || !std::isfinite(w)) {
        if (g == w) continue;
        return kInfinity;
      }
      error = std::max(error, std::abs(g - w));
      largest = std::max(largest, std::abs(w));
    }
  if (error == 0) return 0;
  return largest > 0 ? error / largest : kInfinity;
}

inline bool same_bits(View a, View b) {
  if (a.dtype != b.dtype || a.rows != b.rows || a.cols != b.cols) return false;
  const size_t element = size_of(a.dtype), bytes = static_cast<size_t>(a.cols) * element;
  for (int64_t r = 0; r < a.rows; ++r) {
    const auto at = [&](View v) {
      return static_cast<const char*>(v.data) + static_cast<size_t>(r * v.stride) * element;
    };
    if (std::memcmp(at(a), at(b), bytes) != 0) return false;
  }
  return true;
}

/// Where tests have their tensors: host memory, or what a GPU reads as well.
inline std::function<Buffer(size_t, const std::string&)>& tensor_memory() {
  static std::function<Buffer(size_t, const std::string&)> allocate = allocate_host;
  return allocate;
}

/// A tensor with memory of its own.
class Tensor {
 public:
  Tensor(DType dtype, int64_t rows, int64_t cols)
      : buffer_(
            tensor_memory()(static_cast<size_t>(rows * cols) * size_of(dtype), "a test tensor")),
        view_(make_view(buffer_.data(), dtype, rows, cols)) {}
  View view() const { return view_; }
  operator View() const { return view_; }

 private:
  Buffer buffer_;
  View view_;
};

}  // namespace isoflop::test
