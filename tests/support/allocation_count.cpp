// The operators that count. They stand apart from all code that uses them, so that the compiler
// sees plain new and delete there and has no mismatch with malloc to warn of.
#include "tests/support/allocation_count.hpp"

#include "tests/support/under_sanitizer.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

static std::atomic<int64_t> allocations{0};

#if !defined(ISOFLOP_UNDER_TSAN)  // clang links its own too firmly: nothing is counted under it
void* operator new(size_t bytes) {
  ++allocations;
  if (void* p = std::malloc(bytes ? bytes : 1)) return p;
  throw std::bad_alloc();
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {  // std::stable_sort's buffer
  ++allocations;
  return std::malloc(bytes ? bytes : 1);
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, size_t) noexcept {
  std::free(p);
}
#endif

namespace isoflop::test {

int64_t allocation_count() {
  return allocations;
}

}  // namespace isoflop::test
