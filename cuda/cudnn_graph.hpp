// Graphs of cuDNN's backend interface: what is to be computed as operations on tensors, most of
// which never are in memory; the library finds kernels for the whole. Each operation returns its
// result, so that a graph reads as the formulas do.
#pragma once
#include "cuda/cudnn_library.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace isoflop::gpu {

/// A descriptor of the library, which it owns.
class DnnDescriptor {
 public:
  explicit DnnDescriptor(cudnnBackendDescriptorType_t type);
  DnnDescriptor(DnnDescriptor&& other) noexcept : made_(std::exchange(other.made_, nullptr)) {}
  DnnDescriptor& operator=(DnnDescriptor&& other) noexcept {
    std::swap(made_, other.made_);
    return *this;
  }
  ~DnnDescriptor();

  template <class T>
  DnnDescriptor& set(cudnnBackendAttributeName_t name, const T& value) {
    return set(name, type_of(value), 1, &value);
  }
  DnnDescriptor& set(cudnnBackendAttributeName_t name, const DnnDescriptor& value) {
    return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.made_);
  }
  DnnDescriptor& set(cudnnBackendAttributeName_t name, std::span<const int64_t> values) {
    return set(name, CUDNN_TYPE_INT64, static_cast<int64_t>(values.size()), values.data());
  }
  DnnDescriptor& set(cudnnBackendAttributeName_t name,
                     cudnnBackendAttributeType_t type,
                     int64_t count,
                     const void* values);
  void finalize();
  /// The same where a refusal is an answer.
  [[nodiscard]] bool accepted();
  cudnnBackendDescriptor_t get() const { return made_; }

 private:
  static cudnnBackendAttributeType_t type_of(int64_t) { return CUDNN_TYPE_INT64; }
  static cudnnBackendAttributeType_t type_of(bool) { return CUDNN_TYPE_BOOLEAN; }
  static cudnnBackendAttributeType_t type_of(void*) { return CUDNN_TYPE_VOID_PTR; }
  static cudnnBackendAttributeType_t type_of(cudnnHandle_t) { return CUDNN_TYPE_HANDLE; }
  static cudnnBackendAttributeType_t type_of(cudnnDataType_t) { return CUDNN_TYPE_DATA_TYPE; }
  static cudnnBackendAttributeType_t type_of(cudnnPointwiseMode_t) {
    return CUDNN_TYPE_POINTWISE_MODE;
  }
  static cudnnBackendAttributeType_t type_of(cudnnReduceTensorOp_t) {
    return CUDNN_TYPE_REDUCTION_OPERATOR_TYPE;
  }
  static cudnnBackendAttributeType_t type_of(cudnnBackendHeurMode_t) {
    return CUDNN_TYPE_HEUR_MODE;
  }

  cudnnBackendDescriptor_t made_ = nullptr;
};

/// What the library plans for: the device of a handle, or one that a text describes, which need not
/// be there.
DnnDescriptor device_of(cudnnHandle_t handle);
DnnDescriptor device_from_json(const std::string& json);

/// A kernel for a graph.
struct DnnPlan {
  DnnDescriptor engine, plan;
  int64_t workspace = 0;  // bytes it wants
};

class DnnGraph {
 public:
  using Dims = std::array<int64_t, 4>;
  struct Layout {
    Dims dims, strides;  // elements
  };
  /// A tensor of the graph, by its number in it.
  using Id = size_t;

  /// In memory, at the address that execute() is given for `uid`: with bf16, at a multiple of 16
  /// bytes.
  Id memory(int64_t uid, cudnnDataType_t type, const Layout& layout);
  /// One number in fp32 of the host's, likewise.
  Id value(int64_t uid);
  /// Nowhere but in the kernel.
  Id within(cudnnDataType_t type, const Layout& layout);

  // Sums in fp32. Without `to`, a result is within the kernel, in fp32 and shaped as x.
  Id matmul(Id a, Id b, Id to);
  Id pointwise(cudnnPointwiseMode_t mode, Id x) { return pointwise(mode, x, {}, like(x)); }
  Id pointwise(cudnnPointwiseMode_t mode, Id x, Id b) { return pointwise(mode, x, b, like(x)); }
  Id pointwise(cudnnPointwiseMode_t mode, Id x, std::optional<Id> b, Id to);
  Id reduce(cudnnReduceTensorOp_t op, Id x, Id to);
  Id reshape(Id x, Id to);
  /// x where the query of a row (axis 2) sees the key of a column (axis 3), else value(uid).
  Id causal(Id x, int64_t uid);

  /// Ways to compute it on a device, the best first as the library sees it; none when it takes no
  /// such graph.
  std::vector<DnnDescriptor> engines(const DnnDescriptor& device) const;

 private:
  struct Tensor {
    DnnDescriptor made;
    Layout layout;
  };
  Id add(int64_t uid, cudnnDataType_t type, const Layout& layout, bool in_memory, bool by_value);
  Id like(Id x, cudnnDataType_t type = CUDNN_DATA_FLOAT) {
    return within(type, tensors_[x].layout);
  }
  Id apply(cudnnPointwiseMode_t mode,
           Id x,
           std::optional<Id> b,
           std::optional<Id> t,
           std::optional<int64_t> axis,
           Id to);
  const DnnDescriptor& made(Id id) const { return tensors_[id].made; }
  const DnnDescriptor& graph() const;

  std::vector<Tensor> tensors_;
  std::vector<DnnDescriptor> parts_, operations_;
  mutable std::optional<DnnDescriptor> graph_;
};

/// Nothing when the engine turns out not to take the graph.
std::optional<DnnPlan> make_plan(DnnDescriptor engine, const DnnDescriptor& device);
/// Whether there would be a plan but for the driver, which has to load its kernel.
bool reaches_driver(const DnnDescriptor& engine, const DnnDescriptor& device);

/// Queues it on the handle's stream. `there`: an address for each tensor in memory.
void execute(cudnnHandle_t handle,
             const DnnPlan& plan,
             std::span<const std::pair<int64_t, void*>> there,
             void* workspace);

}  // namespace isoflop::gpu
