#ifdef ISOFLOP_CUDNN
#include "cuda/cudnn_graph.hpp"

#include <algorithm>

namespace isoflop::gpu {

namespace {

constexpr int64_t kFirstUid = 1000;  // of tensors that nobody gives an address

}  // namespace

DnnDescriptor::DnnDescriptor(cudnnBackendDescriptorType_t type) {
  ISOFLOP_DNN(dnn().cudnnBackendCreateDescriptor(type, &made_));
}

DnnDescriptor::~DnnDescriptor() {
  if (made_) dnn().cudnnBackendDestroyDescriptor(made_);
}

DnnDescriptor& DnnDescriptor::set(cudnnBackendAttributeName_t name,
                                  cudnnBackendAttributeType_t type,
                                  int64_t count,
                                  const void* values) {
  ISOFLOP_DNN(dnn().cudnnBackendSetAttribute(made_, name, type, count, values));
  return *this;
}

void DnnDescriptor::finalize() {
  ISOFLOP_DNN(dnn().cudnnBackendFinalize(made_));
}

bool DnnDescriptor::accepted() {
  return dnn().cudnnBackendFinalize(made_) == CUDNN_STATUS_SUCCESS;
}

DnnDescriptor device_of(cudnnHandle_t handle) {
  DnnDescriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device.set(CUDNN_ATTR_DEVICEPROP_HANDLE, handle).finalize();
  return device;
}

DnnDescriptor device_from_json(const std::string& json) {
  DnnDescriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
             static_cast<int64_t>(json.size()), json.data());
  device.finalize();
  return device;
}

DnnGraph::Id DnnGraph::add(
    int64_t uid, cudnnDataType_t type, const Layout& layout, bool in_memory, bool by_value) {
  DnnDescriptor tensor(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  tensor.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, uid)
      .set(CUDNN_ATTR_TENSOR_DATA_TYPE, type)
      .set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<const int64_t>(layout.dims))
      .set(CUDNN_ATTR_TENSOR_STRIDES, std::span<const int64_t>(layout.strides))
      .set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, int64_t{type == CUDNN_DATA_BFLOAT16 ? 16 : 4})
      .set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, !in_memory && !by_value)
      .set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, by_value)
      .finalize();
  tensors_.push_back({std::move(tensor), layout});
  return tensors_.size() - 1;
}

DnnGraph::Id DnnGraph::memory(int64_t uid, cudnnDataType_t type, const Layout& layout) {
  return add(uid, type, layout, true, false);
}

DnnGraph::Id DnnGraph::value(int64_t uid) {
  return add(uid, CUDNN_DATA_FLOAT, {{1, 1, 1, 1}, {1, 1, 1, 1}}, false, true);
}

DnnGraph::Id DnnGraph::within(cudnnDataType_t type, const Layout& layout) {
  return add(kFirstUid + static_cast<int64_t>(tensors_.size()), type, layout, false, false);
}

DnnGraph::Id DnnGraph::matmul(Id a, Id b, Id to) {
  DnnDescriptor product(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  product.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT).finalize();
  DnnDescriptor operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_MATMUL_DESC, product)
      .set(CUDNN_ATTR_OPERATION_MATMUL_ADESC, made(a))
      .set(CUDNN_ATTR_OPERATION_MATMUL_BDESC, made(b))
      .set(CUDNN_ATTR_OPERATION_MATMUL_CDESC, made(to))
      .finalize();
  parts_.push_back(std::move(product));
  operations_.push_back(std::move(operation));
  return to;
}

/// `b`, `t` and `axis` where the mode has them.
DnnGraph::Id DnnGraph::apply(cudnnPointwiseMode_t mode,
                             Id x,
                             std::optional<Id> b,
                             std::optional<Id> t,
                             std::optional<int64_t> axis,
                             Id to) {
  DnnDescriptor function(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  function.set(CUDNN_ATTR_POINTWISE_MODE, mode)
      .set(CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_DATA_FLOAT);
  if (axis) function.set(CUDNN_ATTR_POINTWISE_AXIS, *axis);
  function.finalize();
  DnnDescriptor operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, function)
      .set(CUDNN_ATTR_OPERATION_POINTWISE_XDESC, made(x))
      .set(CUDNN_ATTR_OPERATION_POINTWISE_YDESC, made(to));
  if (b) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_BDESC, made(*b));
  if (t) operation.set(CUDNN_ATTR_OPERATION_POINTWISE_TDESC, made(*t));
  operation.finalize();
  parts_.push_back(std::move(function));
  operations_.push_back(std::move(operation));
  return to;
}

DnnGraph::Id DnnGraph::pointwise(cudnnPointwiseMode_t mode, Id x, std::optional<Id> b, Id to) {
  return apply(mode, x, b, {}, {}, to);
}

DnnGraph::Id DnnGraph::causal(Id x, int64_t uid) {
  const Id query = apply(CUDNN_POINTWISE_GEN_INDEX, x, {}, {}, 2, like(x, CUDNN_DATA_INT32));
  const Id key = apply(CUDNN_POINTWISE_GEN_INDEX, x, {}, {}, 3, like(x, CUDNN_DATA_INT32));
  const Id sees = pointwise(CUDNN_POINTWISE_CMP_GE, query, key, like(x, CUDNN_DATA_BOOLEAN));
  return apply(CUDNN_POINTWISE_BINARY_SELECT, x, value(uid), sees, {}, like(x));
}

DnnGraph::Id DnnGraph::reduce(cudnnReduceTensorOp_t op, Id x, Id to) {
  DnnDescriptor reduction(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  reduction.set(CUDNN_ATTR_REDUCTION_OPERATOR, op)
      .set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT)
      .finalize();
  DnnDescriptor operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_REDUCTION_DESC, reduction)
      .set(CUDNN_ATTR_OPERATION_REDUCTION_XDESC, made(x))
      .set(CUDNN_ATTR_OPERATION_REDUCTION_YDESC, made(to))
      .finalize();
  parts_.push_back(std::move(reduction));
  operations_.push_back(std::move(operation));
  return to;
}

DnnGraph::Id DnnGraph::reshape(Id x, Id to) {
  DnnDescriptor operation(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
  operation.set(CUDNN_ATTR_OPERATION_RESHAPE_XDESC, made(x))
      .set(CUDNN_ATTR_OPERATION_RESHAPE_YDESC, made(to))
      .finalize();
  operations_.push_back(std::move(operation));
  return to;
}

const DnnDescriptor& DnnGraph::graph() const {
  if (graph_) return *graph_;
  std::vector<cudnnBackendDescriptor_t> list;
  for (const DnnDescriptor& operation : operations_) list.push_back(operation.get());
  graph_.emplace(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  graph_->set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
              static_cast<int64_t>(list.size()), list.data());
  graph_->finalize();
  return *graph_;
}

std::vector<DnnDescriptor> DnnGraph::engines(const DnnDescriptor& device) const {
  DnnDescriptor search(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  search.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph())
      .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_HEUR_MODE_A)
      .set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device);
  if (!search.accepted()) return {};
  int64_t count = 0;
  ISOFLOP_DNN(dnn().cudnnBackendGetAttribute(search.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                             CUDNN_TYPE_BACKEND_DESCRIPTOR, 0, &count, nullptr));
  std::vector<DnnDescriptor> engines;
  std::vector<cudnnBackendDescriptor_t> list;
  for (int64_t i = 0; i < count; ++i) {
    engines.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    list.push_back(engines.back().get());
  }
  int64_t found = 0;  // fewer, where some were no use
  ISOFLOP_DNN(dnn().cudnnBackendGetAttribute(search.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                             CUDNN_TYPE_BACKEND_DESCRIPTOR, count, &found,
                                             list.data()));
  while (static_cast<int64_t>(engines.size()) > found) engines.pop_back();
  return engines;
}

static DnnDescriptor plan_of(const DnnDescriptor& engine, const DnnDescriptor& device) {
  DnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
  plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, engine)
      .set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device);
  return plan;
}

bool reaches_driver(const DnnDescriptor& engine, const DnnDescriptor& device) {
  const cudnnStatus_t status = dnn().cudnnBackendFinalize(plan_of(engine, device).get());
  return status == CUDNN_STATUS_SUCCESS || status == CUDNN_STATUS_EXECUTION_FAILED_CUDA_DRIVER;
}

std::optional<DnnPlan> make_plan(DnnDescriptor engine, const DnnDescriptor& device) {
  DnnDescriptor plan = plan_of(engine, device);
  if (!plan.accepted()) return std::nullopt;
  int64_t workspace = 0, count = 0;
  ISOFLOP_DNN(dnn().cudnnBackendGetAttribute(plan.get(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                             CUDNN_TYPE_INT64, 1, &count, &workspace));
  return DnnPlan{std::move(engine), std::move(plan), workspace};
}

void execute(cudnnHandle_t handle,
             const DnnPlan& plan,
             std::span<const std::pair<int64_t, void*>> there,
             void* workspace) {
  std::array<int64_t, 16> uids = {};
  std::array<void*, 16> addresses = {};
  for (size_t i = 0; i < there.size(); ++i) {
    uids[i] = there[i].first;
    addresses[i] = there[i].second;
  }
  const auto count = static_cast<int64_t>(there.size());
  DnnDescriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, uids.data())
      .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count, addresses.data())
      .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace)
      .finalize();
  ISOFLOP_DNN(dnn().cudnnBackendExecute(handle, plan.plan.get(), pack.get()));
}

}  // namespace isoflop::gpu
#endif
