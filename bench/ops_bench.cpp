// Speed of every operation of the CPU backend: bench_ops [--benchmark_filter=REGEX ...] [threads]
//
// Rates come from the best iteration, since the cores may be shared; with one thread they are per
// second of that thread's CPU time, which is the figure to trust on a busy machine. `GFLOP/s` for
// products, `GB/s` for the rest (bytes an ideal pass would move: each input read once, each output
// written once). `share` of a product: its rate against threads x the rate of one dnnl_sgemm of the
// same shape on one thread, measured in turns with it, so that both meet the same machine.
#include "core/rng.hpp"
#include "cpu/backend.hpp"
#include "cpu/gemm.hpp"

#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

namespace isoflop {
namespace {

std::unique_ptr<ThreadTeam> team;
std::unique_ptr<Backend> backend;

/// Tensors of one benchmark, filled with uniform numbers in [-0.5, 0.5) (zeros would run too fast).
class Data {
 public:
  View operator()(int64_t rows, int64_t cols) {
    buffers_.push_back(
        allocate_host(static_cast<size_t>(rows * cols) * sizeof(float), "benchmark"));
    const View view = make_view(buffers_.back().data(), DType::f32, rows, cols);
    uint32_t state = 12345;
    for (int64_t i = 0; i < view.size(); ++i) {
      state = state * 1664525u + 1013904223u;
      view.as<float>()[i] = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
    }
    return view;
  }
  std::vector<int32_t> tokens(int64_t count, int64_t bound) {
    std::vector<int32_t> result;
    for (int64_t i = 0; i < count; ++i)
      result.push_back(static_cast<int32_t>(uniform01(1, 0, static_cast<uint64_t>(i)) *
                                            static_cast<double>(bound)));
    return result;
  }

 private:
  std::deque<Buffer> buffers_;
};

double now() {
  timespec time;
  clock_gettime(team->size() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

double seconds_of(const std::function<void()>& work) {
  const double start = now();
  work();
  return now() - start;
}

double best_time(benchmark::State& state, const std::function<void()>& work) {
  work();  // scratch grows, kernels are made
  double best = std::numeric_limits<double>::infinity();
  for (auto _ : state) {
    const double seconds = seconds_of(work);
    state.SetIterationTime(seconds);
    best = std::min(best, seconds);
  }
  return best;
}

void report_bytes(benchmark::State& state, int64_t floats, const std::function<void()>& work) {
  state.counters["GB/s"] = static_cast<double>(floats) * 4e-9 / best_time(state, work);
}
void report_flops(benchmark::State& state, double flops, const std::function<void()>& work) {
  state.counters["GFLOP/s"] = flops * 1e-9 / best_time(state, work);
}

void report_product(benchmark::State& state,
                    const std::function<void()>& work,
                    const cpu::Gemm& whole) {
  work();
  double best = std::numeric_limits<double>::infinity(), single = best;
  for (auto _ : state) {
    const double seconds = seconds_of(work);
    state.SetIterationTime(seconds);
    best = std::min(best, seconds);
    state.PauseTiming();
    single = std::min(single, seconds_of([&] { cpu::gemm(whole); }));
    state.ResumeTiming();
  }
  const double flops = 2e-9 * static_cast<double>(whole.m * whole.n * whole.k);
  state.counters["GFLOP/s"] = flops / best;
  state.counters["GB/s(w)"] = static_cast<double>(whole.n * whole.k) * 4e-9 / best;
  state.counters["share"] = single / best / team->size();
}

void matmul(benchmark::State& state) {
  const int64_t n = state.range(0), out = state.range(1), in = state.range(2);
  Data data;
  const View x = data(n, in), w = data(out, in), bias = data(1, out), y = data(n, out);
  const WeightRef ref = backend->prepare(w);
  report_product(state,
                 [&] { backend->matmul({.x = x, .w = ref, .bias = bias, .add = {}, .y = y}); },
                 {.transpose_b = 'T',
                  .m = n,
                  .n = out,
                  .k = in,
                  .a = x.as<float>(),
                  .lda = in,
                  .b = w.as<float>(),
                  .ldb = in,
                  .c = y.as<float>(),
                  .ldc = out});
}

void matmul_grad_input(benchmark::State& state) {
  const int64_t n = state.range(0), out = state.range(1), in = state.range(2);
  Data data;
  const View dy = data(n, out), w = data(out, in), dx = data(n, in);
  const WeightRef ref = backend->prepare(w);
  report_product(state, [&] { backend->matmul_grad_input({.dy = dy, .w = ref, .dx = dx}); },
                 {.m = n,
                  .n = in,
                  .k = out,
                  .a = dy.as<float>(),
                  .lda = out,
                  .b = w.as<float>(),
                  .ldb = in,
                  .c = dx.as<float>(),
                  .ldc = in});
}

void matmul_grad_weight(benchmark::State& state) {
  const int64_t n = state.range(0), out = state.range(1), in = state.range(2);
  Data data;
  const View dy = data(n, out), x = data(n, in), dw = data(out, in), dbias = data(1, out);
  report_product(state,
                 [&] { backend->matmul_grad_weight({.dy = dy, .x = x, .dw = dw, .dbias = dbias}); },
                 {.transpose_a = 'T',
                  .m = out,
                  .n = in,
                  .k = n,
                  .a = dy.as<float>(),
                  .lda = out,
                  .b = x.as<float>(),
                  .ldb = in,
                  .beta = 1,
                  .c = dw.as<float>(),
                  .ldc = in});
}

void norms(benchmark::State& state, bool layernorm, bool backward) {
  const int64_t n = state.range(0), d = state.range(1);
  Data data;
  const View x = data(n, d), y = data(n, d), dx = data(n, d), gain = data(1, d), bias = data(1, d);
  const View mean = data(n, 1), inv = data(n, 1), dgain = data(1, d), dbias = data(1, d);
  report_bytes(state, n * d * (backward ? 4 : 2), [&] {
    if (layernorm && backward)
      backend->layernorm_backward({.dy = y,
                                   .x = x,
                                   .gain = gain,
                                   .mean = mean,
                                   .inv_std = inv,
                                   .dx_add = dx,
                                   .dgain = dgain,
                                   .dbias = dbias});
    else if (layernorm)
      backend->layernorm_forward(
          {.x = x, .gain = gain, .bias = bias, .y = y, .mean = mean, .inv_std = inv});
    else if (backward)
      backend->rmsnorm_backward(
          {.dy = y, .x = x, .gain = gain, .inv_rms = inv, .dx_add = dx, .dgain = dgain});
    else
      backend->rmsnorm_forward({.x = x, .gain = gain, .y = y, .inv_rms = inv});
  });
}

void activations(benchmark::State& state, const std::string& what) {
  const int64_t n = state.range(0), f = state.range(1);
  Data data;
  const View x = data(n, f), up = data(n, f), dy = data(n, f), y = data(n, f), z = data(n, f);
  const Gelu kind = what.find("erf") != std::string::npos ? Gelu::erf : Gelu::tanh;
  const bool backward = what.find("backward") != std::string::npos;
  if (what.starts_with("gelu"))
    report_bytes(state, n * f * (backward ? 3 : 2), [&] {
      if (backward)
        backend->gelu_backward({.dy = dy, .x = x, .dx = y, .kind = kind});
      else
        backend->gelu_forward({.x = x, .y = y, .kind = kind});
    });
  else
    report_bytes(state, n * f * (backward ? 5 : 3), [&] {
      if (backward)
        backend->swiglu_backward({.dy = dy, .gate = x, .up = up, .dgate = y, .dup = z});
      else
        backend->swiglu_forward({.gate = x, .up = up, .y = y});
    });
}

void rope(benchmark::State& state, RopePairs pairs) {
  const int64_t n = state.range(0), d = state.range(1), hd = 64, t = 256;
  Data data;
  const View x = data(n, d), cos = data(t, hd / 2), sin = data(t, hd / 2);
  report_bytes(state, 2 * n * d, [&] {
    backend->rope({.x = x,
                   .cos = cos,
                   .sin = sin,
                   .tokens = t,
                   .head_dim = hd,
                   .rotary_dim = hd,
                   .pairs = pairs});
  });
}

/// FLOPs counted for the causal half only: 2 products forward, 5 backward.
void attention(benchmark::State& state, bool backward) {
  const int64_t b = state.range(0), t = state.range(1), heads = state.range(2), hd = state.range(3);
  Data data;
  const int64_t d = heads * hd, n = b * t;
  const View qkv = data(n, 3 * d), dqkv = data(n, 3 * d), out = data(n, d), dout = data(n, d);
  const View lse = data(n, heads);
  const AttentionShape shape{.batch = b,
                             .queries = t,
                             .keys = t,
                             .heads = heads,
                             .kv_heads = heads,
                             .head_dim = hd,
                             .scale = 0.125};
  const AttentionForward forward{.shape = shape,
                                 .q = qkv.columns(0, d),
                                 .k = qkv.columns(d, d),
                                 .v = qkv.columns(2 * d, d),
                                 .out = out,
                                 .lse = lse};
  backend->attention_forward(forward);
  const double product = static_cast<double>(b * heads * hd) * static_cast<double>(t * (t + 1));
  report_flops(state, product * (backward ? 5 : 2), [&] {
    if (backward)
      backend->attention_backward({.shape = shape,
                                   .dout = dout,
                                   .q = forward.q,
                                   .k = forward.k,
                                   .v = forward.v,
                                   .out = out,
                                   .lse = lse,
                                   .dq = dqkv.columns(0, d),
                                   .dk = dqkv.columns(d, d),
                                   .dv = dqkv.columns(2 * d, d)});
    else
      backend->attention_forward(forward);
  });
}

void attention_decode(benchmark::State& state) {
  const int64_t keys = state.range(0), heads = state.range(1), hd = state.range(2), d = heads * hd;
  Data data;
  const View q = data(1, d), k = data(keys, d), v = data(keys, d), out = data(1, d);
  report_bytes(state, 2 * keys * d, [&] {
    backend->attention_forward({.shape = {.queries = 1,
                                          .keys = keys,
                                          .heads = heads,
                                          .kv_heads = heads,
                                          .head_dim = hd,
                                          .scale = 0.125},
                                .q = q,
                                .k = k,
                                .v = v,
                                .out = out,
                                .lse = {}});
  });
}

void cross_entropy(benchmark::State& state) {
  const int64_t n = state.range(0), v = state.range(1);
  Data data;
  const View logits = data(n, v), losses = data(n, 1);
  const std::vector<int32_t> targets = data.tokens(n, v);
  report_bytes(state, 2 * n * v, [&] {
    backend->cross_entropy(
        {.logits = logits, .targets = targets, .losses = losses, .grad_scale = 1e-3});
  });
}

void embedding(benchmark::State& state, bool backward) {
  const int64_t n = state.range(0), v = state.range(1), d = state.range(2);
  Data data;
  const View table = data(v, d), y = data(n, d);
  const WeightRef ref = backend->prepare(table);
  const std::vector<int32_t> tokens = data.tokens(n, v);
  report_bytes(state, n * d * (backward ? 3 : 2), [&] {
    if (backward)
      backend->embedding_backward(
          {.dy = y, .tokens = tokens, .dtable = table, .dpositions = {}, .sequence = n});
    else
      backend->embedding_forward(
          {.tokens = tokens, .table = ref, .positions = {}, .y = y, .sequence = n});
  });
}

void adamw(benchmark::State& state) {
  const int64_t count = state.range(0);
  Data data;
  const View p = data(1, count), g = data(1, count), m = data(1, count), v = data(1, count);
  backend->zero(v);
  report_bytes(state, 7 * count,
               [&] { backend->adamw({.p = p, .g = g, .m = m, .v = v, .lr = 1e-3}); });
}

void sum_squares(benchmark::State& state) {
  Data data;
  const View g = data(1, state.range(0));
  report_bytes(state, g.size(), [&] { benchmark::DoNotOptimize(backend->sum_squares(g)); });
}

void add(benchmark::State& state) {
  Data data;
  const View x = data(1, state.range(0)), y = data(1, state.range(0));
  report_bytes(state, 3 * x.size(), [&] { backend->add(x, y); });
}

void register_all() {
  const auto with = [](const std::string& name, auto function,
                       const std::vector<std::vector<int64_t>>& shapes) {
    auto* bench = benchmark::RegisterBenchmark(name.c_str(), function);
    for (const auto& shape : shapes) bench->Args(shape);
    bench->UseManualTime()->Unit(benchmark::kMicrosecond);
  };
  const std::vector<std::vector<int64_t>> layers = {
      {2048, 384, 384}, {2048, 1152, 384}, {2048, 1536, 384}, {2048, 384, 1536}, {1024, 512, 512},
      {4096, 384, 128}, {1024, 4096, 384}, {512, 8192, 384},  {2048, 128, 128},  {2048, 512, 128},
      {128, 96, 96},    {128, 128, 128},   {128, 512, 128}};
  std::vector<std::vector<int64_t>> products = layers;
  for (const int64_t n : {1, 2, 4, 8, 16, 32, 64}) products.push_back({n, 1536, 384});
  products.push_back({1, 4096, 1024});
  products.push_back({8, 4096, 1024});
  with("matmul", matmul, products);
  with("matmul_grad_input", matmul_grad_input, layers);
  with("matmul_grad_weight", matmul_grad_weight, layers);
  const std::vector<std::vector<int64_t>> rows = {{2048, 384}, {128, 96}};
  for (const bool backward : {false, true}) {
    const std::string suffix = backward ? "_backward" : "_forward";
    with(
        "layernorm" + suffix, [=](auto& s) { norms(s, true, backward); }, rows);
    with(
        "rmsnorm" + suffix, [=](auto& s) { norms(s, false, backward); }, rows);
    with("attention" + suffix, [=](auto& s) { attention(s, backward); },
         {{32, 64, 6, 64}, {8, 256, 6, 64}, {8, 256, 12, 32}, {2, 1024, 6, 64}, {1, 128, 3, 32}});
    with("embedding" + suffix, [=](auto& s) { embedding(s, backward); }, {{2048, 50304, 384}});
  }
  with("attention_decode", attention_decode, {{256, 6, 64}, {4096, 6, 64}});
  for (const char* name : {"gelu_tanh", "gelu_erf", "swiglu"})
    for (const char* suffix : {"", "_backward"})
      with(std::string(name) + suffix,
           [what = std::string(name) + suffix](auto& s) { activations(s, what); }, {{2048, 1536}});
  with("rope_interleaved", [](auto& s) { rope(s, RopePairs::interleaved); }, {{2048, 384}});
  with("rope_half_split", [](auto& s) { rope(s, RopePairs::half_split); }, {{2048, 384}});
  with("cross_entropy", cross_entropy, {{512, 8192}, {256, 50304}});
  with("adamw", adamw, {{1 << 14}, {1 << 20}, {1 << 24}});
  with("sum_squares", sum_squares, {{1 << 14}, {1 << 24}});
  with("add", add, {{1 << 14}, {1 << 22}});
}

}  // namespace
}  // namespace isoflop

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  using namespace isoflop;
  team = std::make_unique<ThreadTeam>(argc > 1 ? std::atoi(argv[1]) : 0);
  backend = make_cpu_backend(*team);
  benchmark::AddCustomContext("backend", backend->description());
  benchmark::AddCustomContext("threads", std::to_string(team->size()));
  register_all();
  benchmark::RunSpecifiedBenchmarks();
  backend.reset();
  team.reset();
}
