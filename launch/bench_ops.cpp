#include "launch/bench_ops.hpp"

#include "core/rng.hpp"
#include "launch/bench_limits.hpp"
#include "pretrain/model/model.hpp"
#include "pretrain/train/profiling_backend.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <deque>

namespace isoflop {

namespace {

constexpr int64_t kRows = 2048;  // tokens of a micro-batch
constexpr int64_t kHeadDim = 64;
constexpr int64_t kVocabulary = 8192;

/// The tensors of one operation, filled with noise.
class Tensors {
 public:
  explicit Tensors(Backend& backend) : backend_(backend) {}
  View activation(int64_t rows, int64_t cols) {
    return make(rows, cols, backend_.activation_dtype());
  }
  View state(int64_t rows, int64_t cols) { return make(rows, cols, backend_.state_dtype()); }
  WeightRef weight(int64_t rows, int64_t cols) { return backend_.prepare(state(rows, cols)); }
  std::span<const int32_t> tokens(int64_t count) {
    for (int64_t i = 0; i < count; ++i)
      tokens_.push_back(static_cast<int32_t>(
          philox(1, rng_stream(RngUse::probe, 0), static_cast<uint64_t>(i))[0] % kVocabulary));
    return tokens_;
  }

 private:
  View make(int64_t rows, int64_t cols, DType dtype) {
    buffers_.push_back(
        backend_.allocate(static_cast<size_t>(rows * cols) * size_of(dtype), "benchmark"));
    const View view = make_view(buffers_.back().data(), dtype, rows, cols);
    fill_with_noise(view);
    return view;
  }
  Backend& backend_;
  std::deque<Buffer> buffers_;
  std::vector<int32_t> tokens_;
};

using Call = std::function<void(Backend&)>;

/// One operation at one shape; `make` fills what it works on.
struct Case {
  std::string name, shape;
  std::function<Call(Tensors&)> make;
};

using Cases = std::vector<Case>;

void add_products(Cases& cases, int64_t rows, int64_t out, int64_t in) {
  const std::string shape = fmt::format("{} x {} -> {}", rows, in, out);
  cases.push_back({"matmul", shape, [=](Tensors& t) -> Call {
                     const Matmul args{.x = t.activation(rows, in),
                                       .w = t.weight(out, in),
                                       .bias = t.state(1, out),
                                       .add = {},
                                       .y = t.activation(rows, out)};
                     return [args](Backend& b) { b.matmul(args); };
                   }});
  if (rows < kHeadTokens) return;  // decoding has no backward
  cases.push_back({"matmul_grad_input", shape, [=](Tensors& t) -> Call {
                     const MatmulGradInput args{.dy = t.activation(rows, out),
                                                .w = t.weight(out, in),
                                                .dx = t.activation(rows, in)};
                     return [args](Backend& b) { b.matmul_grad_input(args); };
                   }});
  cases.push_back({"matmul_grad_weight", shape, [=](Tensors& t) -> Call {
                     const MatmulGradWeight args{.dy = t.activation(rows, out),
                                                 .x = t.activation(rows, in),
                                                 .dw = t.state(out, in),
                                                 .dbias = t.state(1, out)};
                     return [args](Backend& b) { b.matmul_grad_weight(args); };
                   }});
}

void add_attention(Cases& cases, int64_t d, int64_t context) {
  const int64_t heads = d / kHeadDim;
  const AttentionShape shape{.batch = kRows / context,
                             .queries = context,
                             .keys = context,
                             .heads = heads,
                             .kv_heads = heads,
                             .head_dim = kHeadDim,
                             .scale = 0.125};
  const std::string text =
      fmt::format("{} x {} tokens, {} heads of {}", shape.batch, context, heads, kHeadDim);
  const auto forward = [=](Tensors& t) {
    const View qkv = t.activation(kRows, 3 * d);
    return AttentionForward{.shape = shape,
                            .q = qkv.columns(0, d),
                            .k = qkv.columns(d, d),
                            .v = qkv.columns(2 * d, d),
                            .out = t.activation(kRows, d),
                            .lse = t.state(kRows, heads)};
  };
  cases.push_back({"attention_forward", text, [=](Tensors& t) -> Call {
                     return [args = forward(t)](Backend& b) { b.attention_forward(args); };
                   }});
  cases.push_back({"attention_backward", text, [=](Tensors& t) -> Call {
                     const AttentionForward f = forward(t);
                     const View dqkv = t.activation(kRows, 3 * d);
                     const AttentionBackward args{.shape = shape,
                                                  .dout = t.activation(kRows, d),
                                                  .q = f.q,
                                                  .k = f.k,
                                                  .v = f.v,
                                                  .out = f.out,
                                                  .lse = f.lse,
                                                  .dq = dqkv.columns(0, d),
                                                  .dk = dqkv.columns(d, d),
                                                  .dv = dqkv.columns(2 * d, d)};
                     return [args](Backend& b) { b.attention_backward(args); };
                   }});
}

void add_decoding_attention(Cases& cases, int64_t d, int64_t keys) {
  const int64_t heads = d / kHeadDim;
  cases.push_back({"attention_forward",
                   fmt::format("1 query, {} keys, {} heads of {}", keys, heads, kHeadDim),
                   [=](Tensors& t) -> Call {
                     const AttentionForward args{.shape = {.queries = 1,
                                                           .keys = keys,
                                                           .heads = heads,
                                                           .kv_heads = heads,
                                                           .head_dim = kHeadDim,
                                                           .scale = 0.125},
                                                 .q = t.activation(1, d),
                                                 .k = t.activation(keys, d),
                                                 .v = t.activation(keys, d),
                                                 .out = t.activation(1, d),
                                                 .lse = {}};
                     return [args](Backend& b) { b.attention_forward(args); };
                   }});
}

void add_norms(Cases& cases, int64_t d) {
  const std::string shape = fmt::format("{} x {}", kRows, d);
  cases.push_back({"layernorm_forward", shape, [=](Tensors& t) -> Call {
                     const LayerNormForward args{.x = t.activation(kRows, d),
                                                 .gain = t.state(1, d),
                                                 .bias = t.state(1, d),
                                                 .y = t.activation(kRows, d),
                                                 .mean = t.state(kRows, 1),
                                                 .inv_std = t.state(kRows, 1)};
                     return [args](Backend& b) { b.layernorm_forward(args); };
                   }});
  cases.push_back({"layernorm_backward", shape, [=](Tensors& t) -> Call {
                     const LayerNormBackward args{.dy = t.activation(kRows, d),
                                                  .x = t.activation(kRows, d),
                                                  .gain = t.state(1, d),
                                                  .mean = t.state(kRows, 1),
                                                  .inv_std = t.state(kRows, 1),
                                                  .dx_add = t.activation(kRows, d),
                                                  .dgain = t.state(1, d),
                                                  .dbias = t.state(1, d)};
                     return [args](Backend& b) { b.layernorm_backward(args); };
                   }});
  cases.push_back({"rmsnorm_forward", shape, [=](Tensors& t) -> Call {
                     const RmsNormForward args{.x = t.activation(kRows, d),
                                               .gain = t.state(1, d),
                                               .y = t.activation(kRows, d),
                                               .inv_rms = t.state(kRows, 1)};
                     return [args](Backend& b) { b.rmsnorm_forward(args); };
                   }});
  cases.push_back({"rmsnorm_backward", shape, [=](Tensors& t) -> Call {
                     const RmsNormBackward args{.dy = t.activation(kRows, d),
                                                .x = t.activation(kRows, d),
                                                .gain = t.state(1, d),
                                                .inv_rms = t.state(kRows, 1),
                                                .dx_add = t.activation(kRows, d),
                                                .dgain = t.state(1, d)};
                     return [args](Backend& b) { b.rmsnorm_backward(args); };
                   }});
}

void add_activations(Cases& cases, int64_t width) {
  for (const Gelu kind : {Gelu::tanh, Gelu::erf}) {
    const std::string shape =
        fmt::format("{} x {}, {}", kRows, width, kind == Gelu::tanh ? "tanh" : "erf");
    cases.push_back({"gelu_forward", shape, [=](Tensors& t) -> Call {
                       const GeluForward args{.x = t.activation(kRows, width),
                                              .y = t.activation(kRows, width),
                                              .kind = kind};
                       return [args](Backend& b) { b.gelu_forward(args); };
                     }});
    cases.push_back({"gelu_backward", shape, [=](Tensors& t) -> Call {
                       const GeluBackward args{.dy = t.activation(kRows, width),
                                               .x = t.activation(kRows, width),
                                               .dx = t.activation(kRows, width),
                                               .kind = kind};
                       return [args](Backend& b) { b.gelu_backward(args); };
                     }});
  }
  const std::string shape = fmt::format("{} x {}", kRows, width);
  cases.push_back({"swiglu_forward", shape, [=](Tensors& t) -> Call {
                     const SwigluForward args{.gate = t.activation(kRows, width),
                                              .up = t.activation(kRows, width),
                                              .y = t.activation(kRows, width)};
                     return [args](Backend& b) { b.swiglu_forward(args); };
                   }});
  cases.push_back({"swiglu_backward", shape, [=](Tensors& t) -> Call {
                     const SwigluBackward args{.dy = t.activation(kRows, width),
                                               .gate = t.activation(kRows, width),
                                               .up = t.activation(kRows, width),
                                               .dgate = t.activation(kRows, width),
                                               .dup = t.activation(kRows, width)};
                     return [args](Backend& b) { b.swiglu_backward(args); };
                   }});
}

void add_rope(Cases& cases, int64_t d, int64_t context) {
  for (const RopePairs pairs : {RopePairs::interleaved, RopePairs::half_split})
    cases.push_back({"rope",
                     fmt::format("{} x {}, {}", kRows, d,
                                 pairs == RopePairs::interleaved ? "interleaved" : "half-split"),
                     [=](Tensors& t) -> Call {
                       const Rope args{.x = t.activation(kRows, d),
                                       .cos = t.state(context, kHeadDim / 2),
                                       .sin = t.state(context, kHeadDim / 2),
                                       .tokens = context,
                                       .head_dim = kHeadDim,
                                       .rotary_dim = kHeadDim,
                                       .pairs = pairs};
                       return [args](Backend& b) { b.rope(args); };
                     }});
}

void add_embedding(Cases& cases, int64_t d, int64_t context) {
  const std::string shape = fmt::format("{} x {}, vocabulary {}", kRows, d, kVocabulary);
  cases.push_back({"embedding_forward", shape, [=](Tensors& t) -> Call {
                     const EmbeddingForward args{.tokens = t.tokens(kRows),
                                                 .table = t.weight(kVocabulary, d),
                                                 .positions = t.weight(context, d),
                                                 .y = t.activation(kRows, d),
                                                 .sequence = context};
                     return [args](Backend& b) { b.embedding_forward(args); };
                   }});
  cases.push_back({"embedding_backward", shape, [=](Tensors& t) -> Call {
                     const EmbeddingBackward args{.dy = t.activation(kRows, d),
                                                  .tokens = t.tokens(kRows),
                                                  .dtable = t.state(kVocabulary, d),
                                                  .dpositions = t.state(context, d),
                                                  .sequence = context};
                     return [args](Backend& b) { b.embedding_backward(args); };
                   }});
}

void add_loss(Cases& cases) {
  const std::string shape = fmt::format("{} x {}", kHeadTokens, kVocabulary);
  cases.push_back({"softcap", shape, [=](Tensors& t) -> Call {
                     const SoftCap args{.x = t.activation(kHeadTokens, kVocabulary), .cap = 30};
                     return [args](Backend& b) { b.softcap(args); };
                   }});
  cases.push_back({"cross_entropy", shape, [=](Tensors& t) -> Call {
                     const CrossEntropy args{.logits = t.activation(kHeadTokens, kVocabulary),
                                             .targets = t.tokens(kHeadTokens),
                                             .losses = t.state(kHeadTokens, 1),
                                             .grad_scale = 1e-3};
                     return [args](Backend& b) { b.cross_entropy(args); };
                   }});
}

void add_whole_tensors(Cases& cases) {
  constexpr int64_t kCount = int64_t{1} << 24;  // does not fit a cache
  const std::string shape = std::to_string(kCount);
  cases.push_back({"adamw", shape, [=](Tensors& t) -> Call {
                     AdamW args{.p = t.state(1, kCount),
                                .g = t.state(1, kCount),
                                .m = t.state(1, kCount),
                                .v = t.state(1, kCount),
                                .lr = 1e-3};
                     return [args, clear = true](Backend& b) mutable {
                       if (clear) b.zero(args.v);  // noise has negative squares
                       clear = false;
                       b.adamw(args);
                     };
                   }});
  cases.push_back({"sum_squares", shape, [=](Tensors& t) -> Call {
                     return [x = t.state(1, kCount)](Backend& b) { b.sum_squares(x); };
                   }});
  cases.push_back({"zero", shape, [=](Tensors& t) -> Call {
                     return [x = t.state(1, kCount)](Backend& b) { b.zero(x); };
                   }});
  cases.push_back({"copy", shape, [=](Tensors& t) -> Call {
                     return [x = t.state(1, kCount), y = t.state(1, kCount)](Backend& b) {
                       b.copy(x, y);
                     };
                   }});
  cases.push_back({"add", shape, [=](Tensors& t) -> Call {
                     return [x = t.state(1, kCount), y = t.state(1, kCount)](Backend& b) {
                       b.add(x, y);
                     };
                   }});
}

/// Of a small model (384 wide, context 256) and one of GPT-2's size (768 wide, context 1024).
Cases all_cases() {
  Cases cases;
  for (const int64_t d : {384, 768}) {
    add_products(cases, kRows, 3 * d, d);
    add_products(cases, kRows, d, d);
    add_products(cases, kRows, 4 * d, d);
    add_products(cases, kRows, d, 4 * d);
    add_products(cases, kHeadTokens, kVocabulary, d);
  }
  for (const int64_t rows : {1, 8, 64}) add_products(cases, rows, 1536, 384);
  add_attention(cases, 384, 256);
  add_attention(cases, 768, 1024);
  add_decoding_attention(cases, 384, 4096);
  for (const int64_t d : {384, 768}) add_norms(cases, d);
  for (const int64_t d : {384, 768}) add_activations(cases, 4 * d);
  add_rope(cases, 384, 256);
  add_rope(cases, 768, 1024);
  add_embedding(cases, 384, 256);
  add_embedding(cases, 768, 1024);
  add_loss(cases);
  add_whole_tensors(cases);
  return cases;
}

Cases matching_cases(const std::string& filter) {
  Cases cases;
  std::vector<std::string> names;
  for (Case& one : all_cases()) {
    if (std::find(names.begin(), names.end(), one.name) == names.end()) names.push_back(one.name);
    if (one.name.find(filter) != std::string::npos) cases.push_back(std::move(one));
  }
  if (cases.empty())
    fail_user("no operation is called \"{}\"; there are: {}", filter, fmt::join(names, ", "));
  return cases;
}

OpBench measure(const Case& one, Backend& backend) {
  Tensors tensors(backend);
  const Call call = one.make(tensors);
  Trace nothing(0);
  ProfilingBackend counter(backend, nothing);
  call(counter);  // what it prepares comes first, the operation itself last
  const OpWork work = counter.totals().back().work;
  return {one.name, one.shape, seconds_of(backend, [&] { call(backend); }), work};
}

}  // namespace

double MachineLimits::seconds_of(const OpWork& work) const {
  return std::max(work.flops / flops, work.bytes / bytes);
}

OpsBench bench_ops(Backend& backend,
                   const std::string& filter,
                   const std::function<void(const MachineLimits&, const OpBench&)>& done) {
  const Cases cases = matching_cases(filter);
  OpsBench bench;
  bench.limits.flops =
      measure_product_rate(backend, {{kRows, 1536, 384}, {kRows, 3072, 768}, {kRows, 1024, 1024}});
  bench.limits.bytes = measure_bandwidth(backend);
  for (const Case& one : cases) {
    bench.operations.push_back(measure(one, backend));
    done(bench.limits, bench.operations.back());
  }
  return bench;
}

}  // namespace isoflop
