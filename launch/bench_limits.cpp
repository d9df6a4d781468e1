#include "launch/bench_limits.hpp"

#include "ops/work.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace isoflop {

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Twice the last cache as the system tells it; virtual machines may name their host's whole one.
int64_t beyond_caches() {
  const int64_t cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  return std::clamp<int64_t>(2 * cache, int64_t{64} << 20, int64_t{512} << 20);
}

double rate_of(Backend& backend, const OpWork& work, const std::function<void()>& call) {
  return work.flops / seconds_of(backend, call);
}

/// Of the best of a weight's three products.
double product_rate(Backend& backend, const ProductShape& shape) {
  std::vector<Buffer> buffers;
  const auto tensor = [&](int64_t rows, int64_t cols, DType dtype) {
    buffers.push_back(
        backend.allocate(static_cast<size_t>(rows * cols) * size_of(dtype), "benchmark"));
    const View view = make_view(buffers.back().data(), dtype, rows, cols);
    if (backend.in_host_memory()) {
      fill_with_noise(view);
      return view;
    }
    const Buffer host = allocate_host(view.bytes(), "benchmark");
    const View noise = make_view(host.data(), dtype, rows, cols);
    fill_with_noise(noise);
    backend.upload(noise, view);
    return view;
  };
  const DType dtype = backend.activation_dtype(), state = backend.state_dtype();
  const View x = tensor(shape.rows, shape.inputs, dtype);
  const View y = tensor(shape.rows, shape.outputs, dtype);
  const View w = tensor(shape.outputs, shape.inputs, state);
  const View dw = tensor(shape.outputs, shape.inputs, state);
  const WeightRef ref = backend.prepare(w);
  const Matmul forward{.x = x, .w = ref, .bias = {}, .add = {}, .y = y};
  const MatmulGradInput to_input{.dy = y, .w = ref, .dx = x};
  const MatmulGradWeight to_weight{.dy = y, .x = x, .dw = dw, .dbias = {}};
  return std::max(
      {rate_of(backend, work_of(forward), [&] { backend.matmul(forward); }),
       rate_of(backend, work_of(to_input), [&] { backend.matmul_grad_input(to_input); }),
       rate_of(backend, work_of(to_weight), [&] { backend.matmul_grad_weight(to_weight); })});
}

}  // namespace

double median(std::vector<double> values) {
  ISOFLOP_CHECK(!values.empty(), "no median of nothing");
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double seconds_of(Backend& backend, const std::function<void()>& call) {
  call();  // scratch grows, kernels are made
  backend.synchronize();
  std::vector<double> times;
  const double start = now();
  while (times.size() < 5 || now() - start < 0.2) {
    const double before = now();
    call();
    backend.synchronize();
    times.push_back(now() - before);
  }
  return median(std::move(times));
}

void fill_with_noise(View view) {
  uint32_t state = 12345;  // a linear congruence is random enough, and fast
  for (int64_t r = 0; r < view.rows; ++r)
    for (int64_t c = 0; c < view.cols; ++c) {
      state = state * 1664525u + 1013904223u;
      const double value = (state >> 8) * 0x1p-24 - 0.5;
      if (view.dtype == DType::f32)
        view.row<float>(r)[c] = static_cast<float>(value);
      else
        store_scalar(view, r, c, value);
    }
}

double measure_product_rate(Backend& backend, const std::vector<ProductShape>& shapes) {
  double best = 0;
  for (const ProductShape& shape : shapes) best = std::max(best, product_rate(backend, shape));
  return best;
}

double measure_bandwidth(Backend& backend) {
  const int64_t bytes = beyond_caches();
  const Buffer from = backend.allocate(static_cast<size_t>(bytes), "benchmark");
  const Buffer to = backend.allocate(static_cast<size_t>(bytes), "benchmark");
  const auto count = bytes / static_cast<int64_t>(size_of(DType::f32));
  const View a = make_view(from.data(), DType::f32, 1, count);
  const View b = make_view(to.data(), DType::f32, 1, count);
  backend.zero(a);  // pages that were never written are not in memory
  backend.zero(b);
  return 3 * static_cast<double>(bytes) / seconds_of(backend, [&] { backend.add(a, b); });
}

}  // namespace isoflop
