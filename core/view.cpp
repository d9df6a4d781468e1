#include "core/view.hpp"

#include <complex>

namespace isoflop {

double load_scalar(View view, int64_t row, int64_t col) {
  switch (view.dtype) {
    case DType::f32:
      return static_cast<double>(view.row<float>(row)[col]);
    case DType::bf16:
      return static_cast<double>(to_float(view.row<bf16>(row)[col]));
    case DType::f64:
      return view.row<double>(row)[col];
    case DType::c128:
      return view.row<std::complex<double>>(row)[col].real();
    default:
      ISOFLOP_CHECK(false, "no scalar access to {}", name_of(view.dtype));
  }
}

void store_scalar(View view, int64_t row, int64_t col, double value) {
  switch (view.dtype) {
    case DType::f32:
      view.row<float>(row)[col] = static_cast<float>(value);
      return;
    case DType::bf16:
      view.row<bf16>(row)[col] = to_bf16(static_cast<float>(value));
      return;
    case DType::f64:
      view.row<double>(row)[col] = value;
      return;
    case DType::c128:
      view.row<std::complex<double>>(row)[col] = value;
      return;
    default:
      ISOFLOP_CHECK(false, "no scalar access to {}", name_of(view.dtype));
  }
}

}  // namespace isoflop
