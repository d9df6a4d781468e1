#ifdef ISOFLOP_CUDNN
#include "cuda/cudnn_library.hpp"

#include "core/error.hpp"
#include "cuda/shared_library.hpp"

#include <fmt/format.h>

namespace isoflop::gpu {

namespace {

// 9.8 plans for a device's properties instead of a handle (cudnn_graph.hpp), and from 9.10 on a
// masked score may be minus infinity.
constexpr size_t kFirstVersion = 91000;

struct Loaded {
  DnnLibrary library;
  std::string problem;
};

std::string text_of(size_t version) {
  return fmt::format("{}.{}.{}", version / 10000, version / 100 % 100, version % 100);
}

Loaded load() {
  Loaded loaded;
  SharedLibrary file("cuDNN", fmt::format("libcudnn.so.{}", CUDNN_MAJOR));
#define ISOFLOP_DNN_FIND(name) \
  loaded.library.name = reinterpret_cast<decltype(loaded.library.name)>(file.find(#name));
  ISOFLOP_DNN_FUNCTIONS(ISOFLOP_DNN_FIND)
#undef ISOFLOP_DNN_FIND
  loaded.problem = file.problem();
  if (!loaded.problem.empty()) return loaded;
  const size_t version = loaded.library.cudnnGetVersion();
  if (version < kFirstVersion)
    loaded.problem =
        fmt::format("cuDNN {} is older than {}", text_of(version), text_of(kFirstVersion));
  return loaded;
}

const Loaded& loaded() {
  static const Loaded once = load();
  return once;
}

}  // namespace

std::string dnn_problem() {
  return loaded().problem;
}

const DnnLibrary& dnn() {
  if (!loaded().problem.empty()) fail_user("{}", loaded().problem);
  return loaded().library;
}

std::string dnn_version() {
  return text_of(dnn().cudnnGetVersion());
}

void check_dnn(cudnnStatus_t status, const char* call) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  char said[512] = {};
  dnn().cudnnGetLastErrorString(said, sizeof(said));
  fail_io("cuDNN: {} in {}: {}", dnn().cudnnGetErrorString(status), call, said);
}

}  // namespace isoflop::gpu
#endif
