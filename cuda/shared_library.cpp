#include "cuda/shared_library.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

namespace isoflop::gpu {

SharedLibrary::SharedLibrary(const std::string& name, const std::string& file)
    : file_(file), library_(::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (!library_)
    library_ = ::dlopen((ISOFLOP_CUDA_LIBRARIES "/" + file).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library_)
    problem_ = fmt::format(
        "{} cannot be loaded ({}); install it, or put the folder of {} on LD_LIBRARY_PATH", name,
        ::dlerror(), file);
}

void* SharedLibrary::find(const char* function) {
  if (!library_) return nullptr;
  void* const found = ::dlsym(library_, function);
  if (!found && problem_.empty())
    problem_ = fmt::format("{} has no {}; it is of another version", file_, function);
  return found;
}

}  // namespace isoflop::gpu
