#include "core/buffer.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <limits>

namespace isoflop {

Buffer allocate_host(size_t bytes, const std::string& what) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t alignment = bytes >= kHugePage ? kHugePage : kAlignment;
  const bool absurd = bytes > std::numeric_limits<size_t>::max() / 2;  // rounding up must not wrap
  const size_t rounded = absurd ? 0 : (bytes + alignment - 1) / alignment * alignment;
  void* data = absurd ? nullptr : std::aligned_alloc(alignment, rounded ? rounded : alignment);
  if (!data)
    fail_io("not enough memory: {} needs {:.2f} GB; try a smaller model or micro-batch", what,
            static_cast<double>(bytes) * 1e-9);
  if (alignment == kHugePage) madvise(data, rounded, MADV_HUGEPAGE);  // advice: failure is harmless
  std::memset(data, 0, rounded);
  return Buffer(data, bytes, [](void* p) { std::free(p); });
}

}  // namespace isoflop
