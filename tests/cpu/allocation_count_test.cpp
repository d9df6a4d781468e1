// The operators stand apart from the code that uses them, so that the compiler sees plain new and
// delete there.
#include "tests/cpu/allocation_count.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

static std::atomic<int64_t> allocations{0};

void* operator new(size_t bytes) {
  ++allocations;
  if (void* p = std::malloc(bytes ? bytes : 1)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept {
  std::free(p);
}
void operator delete(void* p, size_t) noexcept {
  std::free(p);
}

namespace isoflop::test {

int64_t allocation_count() {
  return allocations;
}

TEST(AllocationCount, Counts) {
  const int64_t before = allocation_count();
  const auto some = std::make_unique<int>(1);
  EXPECT_EQ(allocation_count() - before, 1) << *some;
}

}  // namespace isoflop::test
