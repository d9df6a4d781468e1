#include "cpu/compute_path.hpp"

#include "core/error.hpp"
#include "core/rng.hpp"
#include "cpu/backend.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>

namespace isoflop {

namespace {

// Of the order of one tile of a small model's layer: neither operand falls out of the caches.
constexpr int64_t kTokens = 256, kInputs = 384, kOutputs = 384;

double seconds_now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

/// The products of y = x W^T and its backward on numbers that are not zero, which would run faster.
class Products {
 public:
  explicit Products(const ComputePath& path)
      : team_(1), backend_(make_cpu_backend(team_, path.activation, path.kernel)) {
    const View x = tensor(kTokens, kInputs, path.activation);
    const View y = tensor(kTokens, kOutputs, path.activation);
    const View master = tensor(kOutputs, kInputs, DType::f32);
    const View dw = tensor(kOutputs, kInputs, DType::f32);
    const WeightRef w = backend_->prepare(master);
    forward_ = {.x = x, .w = w, .bias = {}, .add = {}, .y = y};
    to_input_ = {.dy = y, .w = w, .dx = x};
    to_weight_ = {.dy = y, .x = x, .dw = dw, .dbias = {}};
  }
  void run() {
    backend_->matmul(forward_);
    backend_->matmul_grad_weight(to_weight_);
    backend_->matmul_grad_input(to_input_);
  }
  static constexpr double kFlops = 3 * 2.0 * kTokens * kInputs * kOutputs;

 private:
  View tensor(int64_t rows, int64_t cols, DType dtype) {
    buffers_.push_back(
        backend_->allocate(static_cast<size_t>(rows * cols) * size_of(dtype), "a measurement"));
    const View view = make_view(buffers_.back().data(), dtype, rows, cols);
    const double scale =
        1 / std::sqrt(static_cast<double>(kInputs));  // repeated, x and y stay small
    for (int64_t i = 0; i < rows * cols; ++i)
      store_scalar(
          view, i / cols, i % cols,
          scale * (uniform01(1, rng_stream(RngUse::probe, 0), static_cast<uint64_t>(i)) - 0.5));
    return view;
  }

  ThreadTeam team_;
  std::unique_ptr<Backend> backend_;
  std::vector<Buffer> buffers_;
  Matmul forward_;
  MatmulGradInput to_input_;
  MatmulGradWeight to_weight_;
};

/// The earlier of two unless the later is clearly faster.
bool beats(const PathRate& later, const PathRate& earlier) {
  return later.flops >= kClearlyFaster * earlier.flops;
}

}  // namespace

std::string name_of(const ComputePath& path) {
  return path.activation == DType::f32 ? "fp32" : fmt::format("bf16 {}", cpu::name_of(path.kernel));
}

std::vector<ComputePath> available_paths() {
  std::vector<ComputePath> paths = {{}};
  for (const cpu::Bf16Kernel kernel : cpu::kBf16Kernels)
    if (cpu::runs_here(kernel)) paths.push_back({DType::bf16, kernel});
  return paths;
}

PathRate measure_path(const ComputePath& path) {
  constexpr double kSeconds = 4e-3;
  constexpr int kSamples = 4;
  Products products(path);
  products.run();  // memory is touched, kernels are made
  double best = std::numeric_limits<double>::infinity();
  const double start = seconds_now();
  for (int sample = 0; sample < kSamples || seconds_now() - start < kSeconds; ++sample) {
    const double before = seconds_now();
    products.run();
    best = std::min(best, seconds_now() - before);
  }
  return {path, Products::kFlops / best};
}

PathChoice choose_path(const std::vector<PathRate>& rates) {
  ISOFLOP_CHECK(!rates.empty(), "no way to compute");
  const PathRate* chosen = nullptr;
  for (const PathRate& rate : rates)
    if (rate.path.activation != DType::f32 && (!chosen || beats(rate, *chosen))) chosen = &rate;
  const PathRate& first = rates.front();
  if (!chosen || (first.path.activation == DType::f32 && !beats(*chosen, first))) {
    const std::string other =
        chosen ? fmt::format("{} has {:.2f} times its rate, and {} are asked for",
                             name_of(chosen->path), chosen->flops / first.flops, kClearlyFaster)
               : "nothing else was asked for";
    return {first.path, other};
  }
  const PathRate* rival = nullptr;  // the best of the others
  for (const PathRate& rate : rates)
    if (&rate != chosen && (!rival || rate.flops > rival->flops)) rival = &rate;
  if (!rival) return {chosen->path, "nothing else runs here"};
  return {chosen->path, fmt::format("{:.2f} times the rate of {}", chosen->flops / rival->flops,
                                    name_of(rival->path))};
}

}  // namespace isoflop
