#include "cuda/lt_library.hpp"

#include "core/error.hpp"
#include "cuda/shared_library.hpp"

#include <fmt/format.h>

namespace isoflop::gpu {

namespace {

struct Loaded {
  LtLibrary library;
  std::string problem;
};

Loaded load() {
  Loaded loaded;
  SharedLibrary file("cuBLASLt", fmt::format("libcublasLt.so.{}", CUBLAS_VER_MAJOR));
#define ISOFLOP_LT_FIND(name) \
  loaded.library.name = reinterpret_cast<decltype(loaded.library.name)>(file.find(#name));
  ISOFLOP_LT_FUNCTIONS(ISOFLOP_LT_FIND)
#undef ISOFLOP_LT_FIND
  loaded.problem = file.problem();
  return loaded;
}

const Loaded& loaded() {
  static const Loaded once = load();
  return once;
}

}  // namespace

std::string lt_problem() {
  return loaded().problem;
}

const LtLibrary& lt() {
  if (!loaded().problem.empty()) fail_user("{}", loaded().problem);
  return loaded().library;
}

}  // namespace isoflop::gpu
