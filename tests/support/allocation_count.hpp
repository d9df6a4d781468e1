// Counts what this program allocates through operator new, on any thread.
#pragma once
#include <cstdint>

namespace isoflop::test {

int64_t allocation_count();

}  // namespace isoflop::test
