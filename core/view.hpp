// View: a borrowed two-dimensional tensor. Everything an op reads or writes is one of these.
//
// Row-major; element (r, c) is at data[r * stride + c]. A vector is a View of one row. A slice of
// columns (one head's queries, all keys) is again a View, so packed activations need no copies.
// A View never owns: the Buffer or Arena it came from must outlive it.
#pragma once
#include "core/dtype.hpp"
#include "core/error.hpp"

#include <cstdint>

namespace isoflop {

struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;  // elements from the start of one row to the next

  explicit operator bool() const { return data != nullptr; }
  int64_t size() const { return rows * cols; }
  bool contiguous() const { return stride == cols || rows <= 1; }
  size_t bytes() const { return static_cast<size_t>(size()) * size_of(dtype); }

  template <class T>
  T* as() const {
    ISOFLOP_CHECK(dtype == dtype_of<T>(), "view holds {}, asked for {}", name_of(dtype),
                  name_of(dtype_of<T>()));
    return static_cast<T*>(data);
  }
  template <class T>
  T* row(int64_t r) const {
    return as<T>() + r * stride;
  }

  View columns(int64_t first, int64_t count) const {
    ISOFLOP_CHECK(first >= 0 && count >= 0 && first + count <= cols, "columns {}+{} of {}", first,
                  count, cols);
    return {static_cast<char*>(data) + static_cast<size_t>(first) * size_of(dtype), dtype, rows,
            count, stride};
  }
  View slice(int64_t first, int64_t count) const {  // rows first .. first+count-1
    ISOFLOP_CHECK(first >= 0 && count >= 0 && first + count <= rows, "rows {}+{} of {}", first,
                  count, rows);
    return {static_cast<char*>(data) + static_cast<size_t>(first * stride) * size_of(dtype), dtype,
            count, cols, stride};
  }
};

inline View make_view(void* data, DType dtype, int64_t rows, int64_t cols) {
  return {data, dtype, rows, cols, cols};
}
template <class T>
View make_view(T* data, int64_t rows, int64_t cols) {
  return {const_cast<std::remove_const_t<T>*>(data), dtype_of<std::remove_const_t<T>>(), rows, cols,
          cols};
}

/// One element as a double (the real part of a complex one), for tables and reports, not for
/// kernels.
double load_scalar(View view, int64_t row, int64_t col);
void store_scalar(View view, int64_t row, int64_t col, double value);

}  // namespace isoflop
