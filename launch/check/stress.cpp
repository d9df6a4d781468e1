#include "launch/check/stress.hpp"

#include "core/hash.hpp"
#include "ops/work.hpp"

#include <chrono>
#include <functional>

namespace isoflop {

namespace {

constexpr int kLeastRounds = 3;
constexpr int64_t kMemoryBytes = int64_t{64} << 20;
constexpr double kBatchSeconds = 0.02;  // that many calls at least between two looks at the result

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Memory of the device with noise, or zeros.
class Tensor {
 public:
  Tensor(Backend& backend, int64_t rows, int64_t cols, DType dtype, bool noise)
      : buffer_(backend.allocate(static_cast<size_t>(rows * cols) * size_of(dtype), "the check")),
        view_(make_view(buffer_.data(), dtype, rows, cols)) {
    if (noise && backend.in_host_memory()) {
      fill_with_noise(view_);
    } else if (noise) {
      const Buffer host = allocate_host(view_.bytes(), "the check");
      const View there = make_view(host.data(), dtype, rows, cols);
      fill_with_noise(there);
      backend.upload(there, view_);
    }
  }
  View view() const { return view_; }

  void hash_into(Backend& backend, Hasher& hasher) const {
    if (backend.in_host_memory()) return hasher.update(view_.data, view_.bytes());
    const Buffer host = allocate_host(view_.bytes(), "the check");
    const View there = make_view(host.data(), view_.dtype, view_.rows, view_.cols);
    backend.download(view_, there);
    hasher.update(there.data, there.bytes());
  }

 private:
  Buffer buffer_;
  View view_;
};

/// Calls `work` for a while; the seconds of a call.
double timed(Backend& backend, const std::function<void()>& work) {
  const double start = now();
  int calls = 0;
  do {
    work();
    backend.synchronize();
    ++calls;
  } while (now() - start < kBatchSeconds);
  return (now() - start) / calls;
}

/// The bits of the first time; whether they have stayed.
struct Bits {
  std::string first;
  bool steady = true;

  void see(Backend& backend, std::initializer_list<const Tensor*> results) {
    Hasher hasher;
    for (const Tensor* result : results) result->hash_into(backend, hasher);
    const std::string bits = hash_hex(hasher.digest());
    if (first.empty()) first = bits;
    steady &= bits == first;
  }
};

}  // namespace

void stress(Backend& backend, const ProductShape& shape, double seconds, RankReport& report) {
  const DType dtype = backend.activation_dtype(), state = backend.state_dtype();
  const Tensor x(backend, shape.rows, shape.inputs, dtype, true);
  const Tensor y(backend, shape.rows, shape.outputs, dtype, false);
  const Tensor dx(backend, shape.rows, shape.inputs, dtype, false);
  const Tensor w(backend, shape.outputs, shape.inputs, state, true);
  const WeightRef ref = backend.prepare(w.view());
  const Matmul forward{.x = x.view(), .w = ref, .bias = {}, .add = {}, .y = y.view()};
  const MatmulGradInput backward{.dy = y.view(), .w = ref, .dx = dx.view()};
  const double flops = work_of(forward).flops + work_of(backward).flops;

  const int64_t count = kMemoryBytes / static_cast<int64_t>(size_of(DType::f32));
  const Tensor from(backend, 1, count, DType::f32, true), to(backend, 1, count, DType::f32, false);

  Bits products, sums;
  std::vector<double> product_seconds, memory_seconds;
  const double start = now();
  for (int round = 0; round < kLeastRounds + 1 || now() - start < seconds; ++round) {
    const double product = timed(backend, [&] {
      backend.matmul(forward);
      backend.matmul_grad_input(backward);
    });
    products.see(backend, {&y, &dx});
    const double memory = timed(backend, [&] {
      backend.zero(to.view());
      backend.add(from.view(), to.view());
    });
    sums.see(backend, {&to});
    if (round == 0) continue;  // cold
    product_seconds.push_back(product);
    memory_seconds.push_back(memory);
  }
  report.products = flops / median(product_seconds);
  report.memory = 4 * static_cast<double>(kMemoryBytes) / median(memory_seconds);
  report.product_bits = products.first;
  report.sum_bits = sums.first;
  report.steady = products.steady && sums.steady;
}

}  // namespace isoflop
