// Fetching ahead what lies apart in memory. Not for other folders.
#pragma once
#include "core/view.hpp"
#include "hwy/cache_control.h"

namespace isoflop::cpu {

/// Fetches rows that lie apart, which the processor does not foresee.
inline void prefetch(View x) {
  constexpr int64_t kLine = 64;
  for (int64_t r = 0; r < x.rows; ++r) {
    const char* row =
        static_cast<const char*>(x.data) + r * x.stride * static_cast<int64_t>(size_of(x.dtype));
    for (int64_t i = 0; i < x.cols * static_cast<int64_t>(size_of(x.dtype)); i += kLine)
      hwy::Prefetch(row + i);
  }
}

}  // namespace isoflop::cpu
