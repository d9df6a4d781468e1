#include "cuda/cudnn_attention.hpp"

#include "core/error.hpp"
#include "cuda/cudnn_asked.hpp"

#ifndef ISOFLOP_CUDNN

namespace isoflop::gpu {

struct CudnnAttention::State {};
CudnnAttention::CudnnAttention() = default;
CudnnAttention::~CudnnAttention() = default;
bool CudnnAttention::run(const AttentionForward&,
                         const std::function<void()>&,
                         Picks&,
                         cudaStream_t) {
  return false;
}
bool CudnnAttention::run(const AttentionBackward&,
                         const std::function<void()>&,
                         Picks&,
                         cudaStream_t) {
  return false;
}
std::string CudnnAttention::description() const {
  return "no cuDNN";
}
CudnnTakes ask_cudnn(const AttentionShape&, const std::string&) {
  fail_user("this program was built without cuDNN");
}

}  // namespace isoflop::gpu

#else

#include "core/buffer.hpp"
#include "core/math.hpp"
#include "cuda/cuda_device.hpp"
#include "cuda/cudnn_graph.hpp"
#include "cuda/timing.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <map>

namespace isoflop::gpu {

namespace {

constexpr int64_t kMostWorkspace = int64_t{4} << 30;
constexpr size_t kCandidates = 4;  // ways timed for a shape
// The first that is right for lengths that do not fill its tiles of 128 without help.
constexpr size_t kAnyLength = 91600;

/// The tensors of both graphs that have an address.
enum Uid : int64_t {
  kQ = 1,
  kK,
  kV,
  kOut,
  kLse,
  kDout,
  kDq,
  kDk,
  kDv,
  kDelta,
  kScale,
  kNever,
  kOne
};

/// What a graph is built for: rows of a packed tensor are `stride` elements apart.
struct Layouts {
  int64_t batch, length, heads, kv_heads, head_dim;
  int64_t q, k, v, out, dout, dq, dk, dv;  // strides

  using Layout = DnnGraph::Layout;
  Layout head_rows(int64_t count, int64_t stride) const {
    return {{batch, count, length, head_dim}, {length * stride, head_dim, stride, 1}};
  }
  /// The same transposed.
  Layout head_columns(int64_t count, int64_t stride) const {
    return {{batch, count, head_dim, length}, {length * stride, head_dim, 1, stride}};
  }
  Layout scores() const {
    return {{batch, heads, length, length}, {heads * length * length, length * length, length, 1}};
  }
  Layout scores_transposed() const {
    return {{batch, heads, length, length}, {heads * length * length, length * length, 1, length}};
  }
  Layout row_sums() const { return {{batch, heads, length, 1}, {heads * length, length, 1, 1}}; }
  /// Row sums as our statistics have them: (B*T, H).
  Layout statistics() const { return {{batch, heads, length, 1}, {length * heads, 1, heads, 1}}; }
  /// Of all heads, within a kernel.
  Layout whole_heads() const {
    return {{batch, heads, length, head_dim},
            {heads * length * head_dim, length * head_dim, head_dim, 1}};
  }
};

constexpr cudnnDataType_t kFloat = CUDNN_DATA_FLOAT, kBf16 = CUDNN_DATA_BFLOAT16;

/// out = softmax(scale q k^T) v, lse = log sum exp of the scores.
DnnGraph forward_graph(const Layouts& s) {
  DnnGraph g;
  const auto q = g.memory(kQ, kBf16, s.head_rows(s.heads, s.q));
  const auto k_transposed = g.memory(kK, kBf16, s.head_columns(s.kv_heads, s.k));
  const auto v = g.memory(kV, kBf16, s.head_rows(s.kv_heads, s.v));
  const auto products = g.matmul(q, k_transposed, g.within(kFloat, s.scores()));
  const auto scaled = g.pointwise(CUDNN_POINTWISE_MUL, products, g.value(kScale));
  const auto scores = g.causal(scaled, kNever);
  const auto max = g.reduce(CUDNN_REDUCE_TENSOR_MAX, scores, g.within(kFloat, s.row_sums()));
  const auto shifted = g.pointwise(CUDNN_POINTWISE_SUB, scores, max);
  const auto powers = g.pointwise(CUDNN_POINTWISE_EXP, shifted);
  const auto sum = g.reduce(CUDNN_REDUCE_TENSOR_ADD, powers, g.within(kFloat, s.row_sums()));
  const auto log = g.pointwise(CUDNN_POINTWISE_LOG, sum);
  g.pointwise(CUDNN_POINTWISE_ADD, max, log, g.memory(kLse, kFloat, s.statistics()));
  const auto p = g.pointwise(CUDNN_POINTWISE_DIV, powers, sum, g.within(kBf16, s.scores()));
  g.matmul(p, v, g.memory(kOut, kBf16, s.head_rows(s.heads, s.out)));
  return g;
}

/// Queries of a group share their keys' gradient.
void add_head_gradient(DnnGraph& g,
                       const Layouts& s,
                       DnnGraph::Id transposed,
                       DnnGraph::Id rows,
                       DnnGraph::Id gradient) {
  if (s.heads == s.kv_heads) {
    g.matmul(transposed, rows, gradient);
    return;
  }
  const auto whole = g.matmul(transposed, rows, g.within(kBf16, s.whole_heads()));
  g.reduce(CUDNN_REDUCE_TENSOR_ADD, whole, gradient);
}

/// With P the probabilities and delta the row sums of dout * out:
///   dv = P^T dout;  dS = scale P (dout v^T - delta);  dk = dS^T q;  dq = dS k
/// That dq is written by a product of its own, not summed up in fp32 by whoever is first, is what
/// makes the library keep dS in memory and the order of all sums fixed.
DnnGraph backward_graph(const Layouts& s) {
  DnnGraph g;
  const auto q = g.memory(kQ, kBf16, s.head_rows(s.heads, s.q));
  const auto k_transposed = g.memory(kK, kBf16, s.head_columns(s.kv_heads, s.k));
  const auto v_transposed = g.memory(kV, kBf16, s.head_columns(s.kv_heads, s.v));
  const auto out = g.memory(kOut, kBf16, s.head_rows(s.heads, s.out));
  const auto dout = g.memory(kDout, kBf16, s.head_rows(s.heads, s.dout));
  const auto lse = g.memory(kLse, kFloat, s.statistics());
  const auto scale = g.value(kScale);

  const auto both = g.pointwise(CUDNN_POINTWISE_MUL, dout, out, g.within(kFloat, s.whole_heads()));
  const auto row_sums = g.reduce(CUDNN_REDUCE_TENSOR_ADD, both, g.within(kFloat, s.row_sums()));
  // Times one, since the library looks for a factor here (of a dropout that there is not).
  const auto delta = g.pointwise(CUDNN_POINTWISE_MUL, row_sums, g.value(kOne),
                                 g.memory(kDelta, kFloat, s.row_sums()));

  const auto products = g.matmul(q, k_transposed, g.within(kFloat, s.scores()));
  const auto scaled = g.pointwise(CUDNN_POINTWISE_MUL, products, scale);
  const auto shifted = g.pointwise(CUDNN_POINTWISE_SUB, scaled, lse);
  const auto p = g.pointwise(CUDNN_POINTWISE_EXP, g.causal(shifted, kNever));
  const auto p_transposed = g.reshape(p, g.within(kBf16, s.scores_transposed()));
  add_head_gradient(g, s, p_transposed, dout, g.memory(kDv, kBf16, s.head_rows(s.kv_heads, s.dv)));

  const auto dp = g.matmul(dout, v_transposed, g.within(kFloat, s.scores()));
  const auto centred = g.pointwise(CUDNN_POINTWISE_SUB, dp, delta);
  const auto weighted = g.pointwise(CUDNN_POINTWISE_MUL, centred, p);
  const auto ds = g.pointwise(CUDNN_POINTWISE_MUL, weighted, scale);
  const auto ds_transposed = g.reshape(ds, g.within(kBf16, s.scores_transposed()));
  add_head_gradient(g, s, ds_transposed, q, g.memory(kDk, kBf16, s.head_rows(s.kv_heads, s.dk)));
  const auto k = g.reshape(k_transposed, g.within(kBf16, s.head_rows(s.kv_heads, s.k)));
  g.matmul(ds, k, g.memory(kDq, kBf16, s.head_rows(s.heads, s.dq)));
  return g;
}

int64_t row_stride(View v) {
  return v.rows > 1 ? v.stride : v.cols;
}

/// What the library takes of shapes: it also asks its own questions when it looks for engines.
bool takes(const AttentionShape& s, FirstKeys first_keys, std::initializer_list<View> views) {
  if (!first_keys.empty() || s.queries != s.keys || s.key_stride() != s.keys) return false;
  if (s.head_dim % 8 != 0 || s.queries < 2) return false;
  if (s.queries % 128 != 0 && dnn().cudnnGetVersion() < kAnyLength) return false;
  for (const View& v : views)
    if (!v || row_stride(v) % 8 != 0 || reinterpret_cast<uintptr_t>(v.data) % 16 != 0) return false;
  return true;
}

/// Sequences of a batch at once: as many as keep the scores' gradient in bf16 within bounds, in
/// equal parts. 0: not even one.
int64_t sequences_at_once(const AttentionShape& s) {
  const int64_t length = round_up(s.queries, int64_t{128});
  const int64_t each = s.heads * length * length * static_cast<int64_t>(sizeof(bf16));
  for (int64_t count = s.batch; count > 0; --count)
    if (s.batch % count == 0 && count * each <= kMostWorkspace) return count;
  return 0;
}

}  // namespace

struct CudnnAttention::State {
  using Key = std::array<int64_t, 14>;

  /// A graph, and what computes it; nothing: our kernels.
  struct Way {
    std::unique_ptr<DnnGraph> graph;
    std::optional<DnnPlan> plan;
  };

  State() { ISOFLOP_DNN(dnn().cudnnCreate(&handle)); }
  ~State() { dnn().cudnnDestroy(handle); }

  /// run(plan) on all of the batch, by parts.
  template <class Run>
  bool go(const Key& key,
          const std::function<DnnGraph()>& graph,
          const std::function<void()>& own,
          Picks& picks,
          cudaStream_t stream,
          Run&& run) {
    auto found = plans.find(key);
    if (found == plans.end()) {
      ISOFLOP_DNN(dnn().cudnnSetStream(handle, stream));
      found = plans.emplace(key, Way{std::make_unique<DnnGraph>(graph()), {}}).first;
      Way& way = found->second;
      way.plan = choose(key, *way.graph, own, picks, stream, run);
    }
    if (!found->second.plan) return false;
    run(*found->second.plan);
    return true;
  }

  /// What the kernel plan says, or what a measurement does. Nothing: our kernels.
  template <class Run>
  std::optional<DnnPlan> choose(const Key& key,
                                const DnnGraph& graph,
                                const std::function<void()>& own,
                                Picks& picks,
                                cudaStream_t stream,
                                Run&& run) {
    const std::string shape = fmt::format("attention:{}", fmt::join(key, ","));
    const std::string* const told = picks.find(shape);
    if (told && *told == "own") return std::nullopt;
    const DnnDescriptor device = device_of(handle);
    std::vector<DnnDescriptor> engines = graph.engines(device);
    if (told) {
      size_t way = 0;
      const char* last = told->data() + told->size();
      const auto [end, error] = std::from_chars(told->data(), last, way);
      std::optional<DnnPlan> plan;
      if (error == std::errc() && end == last && way < engines.size())
        plan = make_plan(std::move(engines[way]), device);
      if (!plan) fail_user("the kernel plan has no way of cuDNN's for {}: {}", shape, *told);
      return plan;
    }
    double best = seconds_of(stream, own);
    std::string name = "own";
    std::optional<DnnPlan> chosen;
    for (size_t way = 0; way < std::min(engines.size(), kCandidates); ++way) {
      std::optional<DnnPlan> plan = make_plan(std::move(engines[way]), device);
      if (!plan || plan->workspace > kMostWorkspace) continue;
      const double seconds = seconds_of(stream, [&] { run(*plan); });
      if (seconds >= best) continue;
      best = seconds;
      name = std::to_string(way);
      chosen = std::move(plan);
    }
    picks.set(shape, name);
    return chosen;
  }

  /// For `delta` and behind it the plan's; what is queued may still use the old one.
  std::byte* memory(int64_t delta_bytes, const DnnPlan& plan) {
    const auto bytes = static_cast<size_t>(delta_bytes + plan.workspace);
    if (workspace.bytes() < bytes) {
      ISOFLOP_CUDA(cudaDeviceSynchronize());
      workspace = Buffer();
      workspace = allocate_device(bytes, "the workspace of attention");
    }
    return workspace.data();
  }

  cudnnHandle_t handle = nullptr;
  std::map<Key, Way> plans;
  Buffer workspace;
};

CudnnAttention::CudnnAttention() = default;
CudnnAttention::~CudnnAttention() = default;

std::string CudnnAttention::description() const {
  return dnn_problem().empty() ? "cuDNN " + dnn_version() : "no cuDNN";
}

bool CudnnAttention::run(const AttentionForward& op,
                         const std::function<void()>& own,
                         Picks& picks,
                         cudaStream_t stream) {
  const AttentionShape& s = op.shape;
  if (!dnn_problem().empty() || !takes(s, op.first_keys, {op.q, op.k, op.v, op.out}) || !op.lse)
    return false;
  if (!state_) state_ = std::make_unique<State>();
  const Layouts layouts = {.batch = s.batch,
                           .length = s.queries,
                           .heads = s.heads,
                           .kv_heads = s.kv_heads,
                           .head_dim = s.head_dim,
                           .q = row_stride(op.q),
                           .k = row_stride(op.k),
                           .v = row_stride(op.v),
                           .out = row_stride(op.out),
                           .dout = 0,
                           .dq = 0,
                           .dk = 0,
                           .dv = 0};
  const State::Key key = {0,          s.batch,   s.queries, s.heads,   s.kv_heads,
                          s.head_dim, layouts.q, layouts.k, layouts.v, layouts.out};
  float scale = static_cast<float>(s.scale), never = -std::numeric_limits<float>::infinity();
  return state_->go(
      key, [&] { return forward_graph(layouts); }, own, picks, stream,
      [&](const DnnPlan& plan) {
        const std::pair<int64_t, void*> there[] = {
            {kQ, op.q.data},     {kK, op.k.data},  {kV, op.v.data}, {kOut, op.out.data},
            {kLse, op.lse.data}, {kScale, &scale}, {kNever, &never}};
        execute(state_->handle, plan, there, state_->memory(0, plan));
      });
}

bool CudnnAttention::run(const AttentionBackward& op,
                         const std::function<void()>& own,
                         Picks& picks,
                         cudaStream_t stream) {
  const AttentionShape& s = op.shape;
  const int64_t at_once = sequences_at_once(s);
  if (!dnn_problem().empty() || at_once == 0 ||
      !takes(s, op.first_keys, {op.q, op.k, op.v, op.out, op.dout, op.dq, op.dk, op.dv}))
    return false;
  if (!state_) state_ = std::make_unique<State>();
  const Layouts layouts = {.batch = at_once,
                           .length = s.queries,
                           .heads = s.heads,
                           .kv_heads = s.kv_heads,
                           .head_dim = s.head_dim,
                           .q = row_stride(op.q),
                           .k = row_stride(op.k),
                           .v = row_stride(op.v),
                           .out = row_stride(op.out),
                           .dout = row_stride(op.dout),
                           .dq = row_stride(op.dq),
                           .dk = row_stride(op.dk),
                           .dv = row_stride(op.dv)};
  const State::Key key = {1,          s.batch,   s.queries, s.heads,     s.kv_heads,   s.head_dim,
                          layouts.q,  layouts.k, layouts.v, layouts.out, layouts.dout, layouts.dq,
                          layouts.dk, layouts.dv};
  float scale = static_cast<float>(s.scale), never = -std::numeric_limits<float>::infinity();
  float one = 1;
  const int64_t delta_bytes =
      round_up(at_once * s.queries * s.heads * static_cast<int64_t>(sizeof(float)), int64_t{256});
  return state_->go(
      key, [&] { return backward_graph(layouts); }, own, picks, stream,
      [&](const DnnPlan& plan) {
        std::byte* const memory = state_->memory(delta_bytes, plan);
        for (int64_t first = 0; first < s.batch; first += at_once) {
          const auto rows = [&](View v) {
            return v.slice(first * s.queries, at_once * s.queries).data;
          };
          const std::pair<int64_t, void*> there[] = {
              {kQ, rows(op.q)},     {kK, rows(op.k)},       {kV, rows(op.v)},
              {kOut, rows(op.out)}, {kDout, rows(op.dout)}, {kLse, rows(op.lse)},
              {kDq, rows(op.dq)},   {kDk, rows(op.dk)},     {kDv, rows(op.dv)},
              {kDelta, memory},     {kScale, &scale},       {kNever, &never},
              {kOne, &one}};
          execute(state_->handle, plan, there, memory + delta_bytes);
        }
      });
}

CudnnTakes ask_cudnn(const AttentionShape& s, const std::string& json) {
  // The stand-in is found by its name, libcuda.so.1, once it is loaded.
  if (!::dlopen("libcuda.so.1", RTLD_NOW) &&
      !::dlopen(ISOFLOP_CUDA_LIBRARIES "/stubs/libcuda.so", RTLD_NOW))
    fail_user("there is neither a driver nor the toolkit's stand-in for one: {}", ::dlerror());
  const int64_t packed = (s.heads + 2 * s.kv_heads) * s.head_dim, whole = s.heads * s.head_dim;
  const Layouts layouts = {s.batch, s.queries, s.heads, s.kv_heads, s.head_dim, packed, packed,
                           packed,  whole,     whole,   packed,     packed,     packed};
  const DnnDescriptor device = device_from_json(json);
  const auto takes = [&](const DnnGraph& graph) {
    const std::vector<DnnDescriptor> engines = graph.engines(device);
    return std::any_of(engines.begin(), engines.end(),
                       [&](const DnnDescriptor& engine) { return reaches_driver(engine, device); });
  };
  return {takes(forward_graph(layouts)), takes(backward_graph(layouts))};
}

}  // namespace isoflop::gpu

#endif
