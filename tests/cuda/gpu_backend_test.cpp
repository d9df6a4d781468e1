// What GpuBackend leaves to its device: which of two ways an operation goes.
#include "ops/reference/backend.hpp"
#include "tests/cuda/emulated_device.hpp"
#include "tests/support/compare.hpp"

#include <gtest/gtest.h>

namespace isoflop::test {
namespace {

/// A hidden layer in and out by `backend`, as in a block.
struct HiddenLayer {
  Tensor x{DType::bf16, 6, 16}, w{DType::f32, 32, 16}, w_out{DType::f32, 16, 32};
  Tensor pre{DType::bf16, 6, 32}, y{DType::bf16, 6, 32}, dy{DType::bf16, 6, 16};
  Tensor dpre{DType::bf16, 6, 32};

  HiddenLayer() {
    for (const Tensor* t : {&x, &w, &w_out, &dy})
      for (int64_t i = 0; i < t->view().size(); ++i) {
        const int64_t cols = t->view().cols;
        set_value(*t, i / cols, i % cols, static_cast<double>((i * 7 + cols) % 13 - 6) / 8);
      }
  }
  void run(Backend& backend, Gelu kind) const {
    backend.matmul_gelu({.x = x.view(),
                         .w = backend.prepare(w.view()),
                         .bias = {},
                         .pre = pre.view(),
                         .y = y.view(),
                         .kind = kind});
    backend.matmul_gelu_grad_input({.dy = dy.view(),
                                    .w = backend.prepare(w_out.view()),
                                    .pre = pre.view(),
                                    .dx = dpre.view(),
                                    .scale = 1,
                                    .kind = kind});
  }
};

TEST(GpuBackend, TakesGeluBehindAProductWhereThatWasFaster) {
  for (const bool fused : {true, false}) {
    const auto backend = make_emulated_gpu(Turns::ascending, fused ? 0 : 1);
    HiddenLayer layer;
    layer.run(*backend, Gelu::tanh);
    const std::string word = fused ? "fused" : "apart";
    EXPECT_NE(backend->choices().find("epilogue:32x6x16 " + word + "\n"), std::string::npos)
        << backend->choices();

    // Told so, a device that would have chosen otherwise gets the same bits.
    const auto told = make_emulated_gpu(Turns::ascending, fused ? 1 : 0);
    told->use_choices(backend->choices());
    HiddenLayer again;
    again.run(*told, Gelu::tanh);
    EXPECT_TRUE(same_bits(again.y.view(), layer.y.view()));
    EXPECT_TRUE(same_bits(again.dpre.view(), layer.dpre.view()));
    EXPECT_EQ(told->choices(), backend->choices());
  }
}

TEST(GpuBackend, LeavesTheErfFormToItsKernel) {
  const auto backend = make_emulated_gpu();
  HiddenLayer layer;
  layer.run(*backend, Gelu::erf);
  EXPECT_EQ(backend->choices().find("epilogue"), std::string::npos) << backend->choices();
}

}  // namespace
}  // namespace isoflop::test
