#include "cuda/lt_library.hpp"

#include "core/error.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

namespace isoflop::gpu {

namespace {

struct Loaded {
  LtLibrary library;
  std::string problem;
};

Loaded load() {
  Loaded loaded;
  const std::string name = fmt::format("libcublasLt.so.{}", CUBLAS_VER_MAJOR);
  void* file = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  // Where the toolkit of the build has it, if the loader does not look there.
  if (!file) file = ::dlopen((ISOFLOP_CUDA_LIBRARIES "/" + name).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!file) {
    loaded.problem = fmt::format(
        "cuBLASLt cannot be loaded ({}); install the CUDA libraries, or put the folder of {} on "
        "LD_LIBRARY_PATH",
        ::dlerror(), name);
    return loaded;
  }
  const auto find = [&](const char* function) {
    void* found = ::dlsym(file, function);
    if (!found && loaded.problem.empty())
      loaded.problem = fmt::format("{} has no {}; it belongs to another CUDA", name, function);
    return found;
  };
#define ISOFLOP_LT_FIND(name) \
  loaded.library.name = reinterpret_cast<decltype(loaded.library.name)>(find(#name));
  ISOFLOP_LT_FUNCTIONS(ISOFLOP_LT_FIND)
#undef ISOFLOP_LT_FIND
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
