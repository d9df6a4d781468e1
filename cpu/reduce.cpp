#include "cpu/cpu_backend.hpp"

#include <algorithm>
#include <cstring>

namespace isoflop::cpu {

constexpr int64_t kChunk = 4096;

double CpuBackend::sum_squares(View view) {
  double total = 0;
  for (int64_t first = 0; first < view.size(); first += kChunk) {
    double sum = 0;
    for (int64_t i = first; i < std::min(first + kChunk, view.size()); ++i) {
      const double x = view.row<float>(i / view.cols)[i % view.cols];
      sum += x * x;
    }
    total += sum;
  }
  return total;
}

void CpuBackend::zero(View view) {
  for (int64_t r = 0; r < view.rows; ++r)
    std::memset(view.row<float>(r), 0, static_cast<size_t>(view.cols) * sizeof(float));
}

void CpuBackend::copy(View from, View to) {
  for (int64_t r = 0; r < from.rows; ++r)
    std::memcpy(to.row<float>(r), from.row<float>(r),
                static_cast<size_t>(from.cols) * sizeof(float));
}

void CpuBackend::add(View from, View to) {
  for (int64_t r = 0; r < from.rows; ++r)
    for (int64_t i = 0; i < from.cols; ++i) to.row<float>(r)[i] += from.row<float>(r)[i];
}

}  // namespace isoflop::cpu
