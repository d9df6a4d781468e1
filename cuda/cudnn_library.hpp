// cuDNN's backend interface, loaded when the first GPU is used, as cuBLASLt is (lt_library.hpp).
// Only attention asks for it, and does without where it is not there. Calls go through dnn(), under
// the names of the library.
#pragma once
#include <cudnn_graph.h>

#include <string>

namespace isoflop::gpu {

#define ISOFLOP_DNN_FUNCTIONS(F)   \
  F(cudnnCreate)                   \
  F(cudnnDestroy)                  \
  F(cudnnSetStream)                \
  F(cudnnGetVersion)               \
  F(cudnnGetErrorString)           \
  F(cudnnGetLastErrorString)       \
  F(cudnnBackendCreateDescriptor)  \
  F(cudnnBackendDestroyDescriptor) \
  F(cudnnBackendSetAttribute)      \
  F(cudnnBackendGetAttribute)      \
  F(cudnnBackendFinalize)          \
  F(cudnnBackendExecute)

struct DnnLibrary {
#define ISOFLOP_DNN_MEMBER(name) decltype(&::name) name = nullptr;
  ISOFLOP_DNN_FUNCTIONS(ISOFLOP_DNN_MEMBER)
#undef ISOFLOP_DNN_MEMBER
};

/// Why the library cannot be used, and what to do; empty when it can. Loads it.
std::string dnn_problem();
/// UserError with dnn_problem() when there is one.
const DnnLibrary& dnn();
/// "9.19.0"
std::string dnn_version();

/// Throws IoError with the call and what the library says of it.
void check_dnn(cudnnStatus_t status, const char* call);
#define ISOFLOP_DNN(call) ::isoflop::gpu::check_dnn((call), #call)

}  // namespace isoflop::gpu
