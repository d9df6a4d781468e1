#include "core/buffer.hpp"

#include "core/numa.hpp"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <limits>

namespace isoflop {

namespace {

constexpr size_t kHugePage = size_t{2} << 20;

/// Whole huge pages from the system, null when there are none. They read as zeros, and each comes
/// into being where and when a thread first writes to it.
void* map_huge_pages(size_t bytes) {
  void* mapped = ::mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  // The mapping starts at any small page: what lies around the huge ones goes back.
  auto* const start = static_cast<std::byte*>(mapped);
  const size_t before = -reinterpret_cast<uintptr_t>(start) % kHugePage;
  if (before) ::munmap(start, before);
  ::munmap(start + before + bytes, kHugePage - before);
  // Both are advice: failure is harmless.
  ::madvise(start + before, bytes, MADV_HUGEPAGE);
  static const std::vector<int> nodes = memory_nodes(allowed_cores());
  if (nodes.size() > 1) interleave_pages(start + before, bytes, nodes);
  return start + before;
}

}  // namespace

Buffer allocate_host(size_t bytes, const std::string& what) {
  const bool large = bytes >= kHugePage;
  const size_t alignment = large ? kHugePage : kAlignment;
  const bool absurd = bytes > std::numeric_limits<size_t>::max() / 2;  // rounding up must not wrap
  const size_t rounded = absurd ? 0 : (bytes + alignment - 1) / alignment * alignment;
  void* data = nullptr;
  if (!absurd)
    data = large ? map_huge_pages(rounded)
                 : std::aligned_alloc(alignment, rounded ? rounded : alignment);
  if (!data)
    fail_io("not enough memory: {} needs {:.2f} GB; try a smaller model or micro-batch", what,
            static_cast<double>(bytes) * 1e-9);
  if (large) return Buffer(data, bytes, [rounded](void* p) { ::munmap(p, rounded); });
  std::memset(data, 0, rounded);
  return Buffer(data, bytes, [](void* p) { std::free(p); });
}

}  // namespace isoflop
