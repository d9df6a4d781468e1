#include "tests/ops/op_case.hpp"

#include "core/hash.hpp"
#include "cpu/backend.hpp"
#include "cuda/backend.hpp"
#include "ops/check.hpp"
#include "ops/reference/backend.hpp"
#include "tests/cuda/emulated_device.hpp"
#include "tests/support/complex_step.hpp"

#include <cmath>
#include <memory>
#include <set>

namespace isoflop::test {

template <class Fill>
View Tensors::make(const std::string& name, int64_t rows, int64_t cols, Fill fill_with) {
  const auto found = tensors_.find(name);
  if (found != tensors_.end()) return found->second.now.view();
  const DType dtype = is_state(name) ? state_dtype_of(dtype_) : dtype_;
  Entry entry{Tensor(dtype, rows, cols), Tensor(dtype, rows, cols)};
  for (const View v : {entry.now.view(), entry.start.view()}) {
    fill_with(v);
    for (int64_t i = 0; coarse_ && i < v.size(); ++i) {
      const int64_t r = i / cols, c = i % cols;
      set_value(v, r, c, to_float(to_bf16(static_cast<float>(value_at(v, r, c)))));
    }
  }
  return tensors_.emplace(name, std::move(entry)).first->second.now.view();
}

View Tensors::random(
    const std::string& name, int64_t rows, int64_t cols, double scale, double mean) {
  return make(name, rows, cols, [&](View v) { fill_normal(v, hash_text(name), scale, mean); });
}

View Tensors::constant(const std::string& name, int64_t rows, int64_t cols, double value) {
  return make(name, rows, cols, [&](View v) { fill(v, value); });
}

View Tensors::output(const std::string& name, int64_t rows, int64_t cols) {
  return constant(name, rows, cols, std::nan(""));
}

Tensor Tensors::change(const std::string& name) const {
  const View now = tensors_.at(name).now, start = tensors_.at(name).start;
  Tensor change(DType::f64, now.rows, now.cols);
  for (int64_t r = 0; r < now.rows; ++r)
    for (int64_t c = 0; c < now.cols; ++c) {
      const double from = value_at(start, r, c);
      set_value(change, r, c, value_at(now, r, c) - (std::isnan(from) ? 0 : from));
    }
  return change;
}

std::vector<std::string> Tensors::names() const {
  std::vector<std::string> names;
  for (const auto& entry : tensors_) names.push_back(entry.first);
  return names;
}

bool Tensors::is_state(const std::string& name) {
  static const std::set<std::string> kNames = {
      "w",     "dw",        "bias",       "dbias", "gain",    "dgain",   "table",   "dtable",
      "other", "positions", "dpositions", "mean",  "inv_std", "inv_rms", "lse",     "cos",
      "sin",   "losses",    "dlosses",    "p",     "g",       "m",       "squares", "losses_again"};
  return kNames.contains(name);
}

void Tensors::take_activations(const Tensors& from) {
  for (const auto& [name, entry] : tensors_)
    for (int64_t i = 0; !is_state(name) && i < entry.now.view().size(); ++i) {
      const int64_t r = i / entry.now.view().cols, c = i % entry.now.view().cols;
      set_value(entry.now, r, c, value_at(from[name], r, c));
    }
}

double fp32_bound(int64_t terms) {
  return 0x1p-23 * (4 + std::sqrt(static_cast<double>(terms)));
}

std::vector<int32_t> random_tokens(int64_t count, int64_t bound, uint64_t seed) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    const double u = uniform01(seed, rng_stream(RngUse::probe, 0), static_cast<uint64_t>(i));
    tokens.push_back(static_cast<int32_t>(u * static_cast<double>(bound)));
  }
  return tokens;
}

void expect_close(const Tensors& got,
                  const Tensors& want,
                  double bound,
                  double state_bound,
                  const std::string& who) {
  for (const std::string& name : want.names())
    EXPECT_LE(relative_error(got[name], want[name]), Tensors::is_state(name) ? state_bound : bound)
        << who << ", tensor " << name;
}

static void run(const OpCase& c, Backend& backend, Tensors& tensors) {
  c.forward(backend, tensors);
  if (c.backward) c.backward(backend, tensors);
  backend.synchronize();
}

// The scalar whose derivative a backward computes: the sum over outputs y of dy * y.
static std::complex<double> objective(const OpCase& c, Backend& backend, Tensors& tensors) {
  c.forward(backend, tensors);
  std::complex<double> sum = 0;
  for (const std::string& name : c.outputs) {
    const View y = tensors[name];
    const View dy = tensors.random("d" + name, y.rows, y.cols);
    for (int64_t i = 0; i < y.size(); ++i)
      sum += dy.as<std::complex<double>>()[i] * y.as<std::complex<double>>()[i];
  }
  return sum;
}

TEST_P(OpGradient, IsComplexStep) {
  const OpCase& c = GetParam();
  Tensors real(DType::f64);
  run(c, *make_reference_backend(DType::f64), real);

  const auto backend = make_reference_backend(DType::c128);
  Tensors stepped(DType::c128);
  objective(c, *backend, stepped);  // makes every tensor
  for (const std::string& name : c.inputs) {
    const View x = stepped[name];
    const Tensor want(DType::f64, x.rows, x.cols);
    for (int64_t i = 0; i < x.size(); ++i)
      want.view().as<double>()[i] = complex_step(x.as<std::complex<double>>()[i],
                                                 [&] { return objective(c, *backend, stepped); });
    // Both sides are exact to rounding in double; the rest is cancellation in short sums.
    EXPECT_LE(relative_error(real.change("d" + name), want), 1e-12) << name;
  }
}

TEST_P(OpParity, MatchesReferenceInDouble) {
  const OpCase& c = GetParam();
  Tensors want(DType::f64);
  run(c, *make_reference_backend(DType::f64), want);

  ThreadTeam team(2);
  std::vector<std::unique_ptr<Backend>> backends;
  backends.push_back(make_reference_backend(DType::f32));
  backends.push_back(make_cpu_backend(team));
  for (const auto& backend : backends) {
    Tensors got(backend->activation_dtype());
    run(c, *backend, got);
    expect_close(got, want, c.bound, c.bound, backend->description());
  }
}

// From inputs that bf16 holds, an activation is rounded once (or as often as the case says), by at
// most 2^-8 of itself; what the
// backward reads of the forward is the same on both sides.
TEST_P(OpParity, Bf16MatchesReferenceInDouble) {
  constexpr double kRounding = 0x1p-8;
  const OpCase& c = GetParam();
  ThreadTeam team(2);
  std::vector<std::unique_ptr<Backend>> backends;
  backends.push_back(make_emulated_gpu());
  if (gpu::find_devices().devices > 0) {  // tests/cuda/device_test.cpp says when there is none
    tensor_memory() = gpu::allocate_pinned;
    backends.push_back(gpu::make_gpu_backend());
  }
  for (const cpu::Bf16Kernel kernel : cpu::kBf16Kernels)
    if (cpu::runs_here(kernel)) backends.push_back(make_cpu_backend(team, DType::bf16, kernel));
  for (const auto& backend : backends) {
    const auto reference = make_reference_backend(DType::f64);
    Tensors want(DType::f64, true), got(DType::bf16);
    const auto compare = [&] {
      expect_close(got, want, c.bound + c.bf16_roundings * kRounding, c.bound + c.bf16_state_bound,
                   backend->description());
    };
    c.forward(*reference, want);
    c.forward(*backend, got);
    backend->synchronize();
    compare();
    if (!c.backward) continue;
    want.take_activations(got);
    c.backward(*reference, want);
    c.backward(*backend, got);
    backend->synchronize();
    compare();
  }
}

TEST_P(OpThreads, DoNotChangeBits) {
  const OpCase& c = GetParam();
  for (const DType dtype : {DType::f32, DType::bf16}) {
    ThreadTeam one(1);
    Tensors want(dtype);
    run(c, *make_cpu_backend(one, dtype), want);
    for (const int threads : {2, 3}) {
      ThreadTeam team(threads);
      Tensors got(dtype);
      run(c, *make_cpu_backend(team, dtype), got);
      for (const std::string& name : want.names())
        EXPECT_TRUE(same_bits(got[name], want[name]))
            << name_of(dtype) << ", " << threads << " threads, tensor " << name;
    }
  }
}

// Whichever thread of a block comes first: a missing barrier would show.
TEST_P(OpThreads, TurnsOfTheEmulatedGpuDoNotChangeBits) {
  const OpCase& c = GetParam();
  Tensors want(DType::bf16), got(DType::bf16);
  run(c, *make_emulated_gpu(Turns::ascending), want);
  run(c, *make_emulated_gpu(Turns::descending), got);
  for (const std::string& name : want.names())
    EXPECT_TRUE(same_bits(got[name], want[name])) << "tensor " << name;
}

}  // namespace isoflop::test
