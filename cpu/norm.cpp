#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/norm.cpp"
#include "core/simd_targets.hpp"
#include "hwy/foreach_target.h"
// Below, because the line above includes this file once per instruction set.
#include "cpu/cpu_backend.hpp"
#include "cpu/simd-inl.h"
#include "ops/check.hpp"

HWY_BEFORE_NAMESPACE();
namespace isoflop::cpu::HWY_NAMESPACE {

template <class T>
void layernorm_rows_of(const LayerNormForward& op, int64_t first, int64_t last) {
  const int64_t D = op.x.cols;
  const float *gain = op.gain.as<float>(), *bias = op.bias ? op.bias.as<float>() : nullptr;
  for (int64_t r = first; r < last; ++r) {
    const T* x = op.x.row<T>(r);
    T* y = op.y.row<T>(r);
    const float sum = reduce_sum(D, [&](auto d, int64_t i) HWY_ATTR { return load(d, x + i); });
    const float mean = sum / static_cast<float>(D);
    const float squares = reduce_sum(D, [&](auto d, int64_t i) HWY_ATTR {
      const auto delta = hn::Sub(load(d, x + i), hn::Set(d, mean));
      return hn::Mul(delta, delta);
    });
    const float inv = static_cast<float>(1 / std::sqrt(squares / static_cast<double>(D) + op.eps));
    for_each(D, [&](auto d, int64_t i) HWY_ATTR {
      const auto xhat = hn::Mul(hn::Sub(load(d, x + i), hn::Set(d, mean)), hn::Set(d, inv));
      const auto shift = bias ? hn::LoadU(d, bias + i) : hn::Zero(d);
      store(hn::MulAdd(xhat, hn::LoadU(d, gain + i), shift), d, y + i);
    });
    *op.mean.row<float>(r) = mean;
    *op.inv_std.row<float>(r) = inv;
  }
}
void layernorm_rows(const LayerNormForward& op, int64_t first, int64_t last) {
  by_type(op.x.dtype,
          [&](auto zero) HWY_ATTR { layernorm_rows_of<decltype(zero)>(op, first, last); });
}

template <class T>
void rmsnorm_rows_of(const RmsNormForward& op, int64_t first, int64_t last) {
  const int64_t D = op.x.cols;
  const float* gain = op.gain.as<float>();
  for (int64_t r = first; r < last; ++r) {
    const T* x = op.x.row<T>(r);
    T* y = op.y.row<T>(r);
    const float squares = reduce_sum(D, [&](auto d, int64_t i) HWY_ATTR {
      const auto v = load(d, x + i);
      return hn::Mul(v, v);
    });
    const float inv = static_cast<float>(1 / std::sqrt(squares / static_cast<double>(D) + op.eps));
    for_each(D, [&](auto d, int64_t i) HWY_ATTR {
      const auto xhat = hn::Mul(load(d, x + i), hn::Set(d, inv));
      store(hn::Mul(xhat, hn::LoadU(d, gain + i)), d, y + i);
    });
    *op.inv_rms.row<float>(r) = inv;
  }
}
void rmsnorm_rows(const RmsNormForward& op, int64_t first, int64_t last) {
  by_type(op.x.dtype,
          [&](auto zero) HWY_ATTR { rmsnorm_rows_of<decltype(zero)>(op, first, last); });
}

// With xhat = (x - mean) inv and g = dy gain:  dx = inv (g - mean(g) - xhat mean(g xhat)).
// dgain and dbias of these rows go to `partial`, D floats each.
template <class T>
void layernorm_backward_rows_of(const LayerNormBackward& op,
                                int64_t first,
                                int64_t last,
                                float* partial) {
  const int64_t D = op.x.cols;
  const float* gain = op.gain.as<float>();
  float *dgain = partial, *dbias = partial + D;
  std::fill_n(partial, 2 * D, 0.0f);
  for (int64_t r = first; r < last; ++r) {
    const T *x = op.x.row<T>(r), *dy = op.dy.row<T>(r);
    T* dx = op.dx_add.row<T>(r);
    const float mean = *op.mean.row<float>(r), inv = *op.inv_std.row<float>(r);
    float dot = 0;
    const float sum = reduce_sum(D, [&](auto d, int64_t i) HWY_ATTR {
      const auto grad = load(d, dy + i);
      const auto xhat = hn::Mul(hn::Sub(load(d, x + i), hn::Set(d, mean)), hn::Set(d, inv));
      hn::StoreU(hn::MulAdd(grad, xhat, hn::LoadU(d, dgain + i)), d, dgain + i);
      hn::StoreU(hn::Add(grad, hn::LoadU(d, dbias + i)), d, dbias + i);
      return hn::Mul(grad, hn::LoadU(d, gain + i));
    });
    dot = reduce_sum(D, [&](auto d, int64_t i) HWY_ATTR {
      const auto g = hn::Mul(load(d, dy + i), hn::LoadU(d, gain + i));
      return hn::Mul(g, hn::Sub(load(d, x + i), hn::Set(d, mean)));
    });
    const float mean_g = sum / static_cast<float>(D);
    const float slope = dot * inv * inv / static_cast<float>(D);  // of xhat, through (x - mean)
    for_each(D, [&](auto d, int64_t i) HWY_ATTR {
      const auto g = hn::Mul(load(d, dy + i), hn::LoadU(d, gain + i));
      const auto centred = hn::Sub(load(d, x + i), hn::Set(d, mean));
      const auto inner = hn::NegMulAdd(centred, hn::Set(d, slope), hn::Sub(g, hn::Set(d, mean_g)));
      store(hn::MulAdd(inner, hn::Set(d, inv), load(d, dx + i)), d, dx + i);
    });
  }
}
void layernorm_backward_rows(const LayerNormBackward& op,
                             int64_t first,
                             int64_t last,
                             float* partial) {
  by_type(op.x.dtype, [&](auto zero) HWY_ATTR {
    layernorm_backward_rows_of<decltype(zero)>(op, first, last, partial);
  });
}

// With xhat = x inv and g = dy gain:  dx = inv (g - xhat mean(g xhat)).
template <class T>
void rmsnorm_backward_rows_of(const RmsNormBackward& op,
                              int64_t first,
                              int64_t last,
                              float* dgain) {
  const int64_t D = op.x.cols;
  const float* gain = op.gain.as<float>();
  std::fill_n(dgain, D, 0.0f);
  for (int64_t r = first; r < last; ++r) {
    const T *x = op.x.row<T>(r), *dy = op.dy.row<T>(r);
    T* dx = op.dx_add.row<T>(r);
    const float inv = *op.inv_rms.row<float>(r);
    const float dot = reduce_sum(D, [&](auto d, int64_t i) HWY_ATTR {
      const auto product = hn::Mul(load(d, dy + i), load(d, x + i));
      hn::StoreU(hn::MulAdd(product, hn::Set(d, inv), hn::LoadU(d, dgain + i)), d, dgain + i);
      return hn::Mul(product, hn::LoadU(d, gain + i));
    });
    const float slope = dot * inv * inv / static_cast<float>(D);
    for_each(D, [&](auto d, int64_t i) HWY_ATTR {
      const auto g = hn::Mul(load(d, dy + i), hn::LoadU(d, gain + i));
      const auto inner = hn::NegMulAdd(load(d, x + i), hn::Set(d, slope), g);
      store(hn::MulAdd(inner, hn::Set(d, inv), load(d, dx + i)), d, dx + i);
    });
  }
}
void rmsnorm_backward_rows(const RmsNormBackward& op, int64_t first, int64_t last, float* dgain) {
  by_type(op.x.dtype, [&](auto zero) HWY_ATTR {
    rmsnorm_backward_rows_of<decltype(zero)>(op, first, last, dgain);
  });
}

/// to[i] += sum over blocks, in order, of partials[block * stride + i]
void add_partials(const float* partials, int64_t blocks, int64_t stride, int64_t count, float* to) {
  for_each(count, [&](auto d, int64_t i) HWY_ATTR {
    auto sum = hn::Zero(d);
    for (int64_t block = 0; block < blocks; ++block)
      sum = hn::Add(sum, hn::LoadU(d, partials + block * stride + i));
    hn::StoreU(hn::Add(hn::LoadU(d, to + i), sum), d, to + i);
  });
}

}  // namespace isoflop::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace isoflop::cpu {

HWY_EXPORT(layernorm_rows);
HWY_EXPORT(rmsnorm_rows);
HWY_EXPORT(layernorm_backward_rows);
HWY_EXPORT(rmsnorm_backward_rows);
HWY_EXPORT(add_partials);

constexpr int64_t kRowBlock = 32;   // rows whose parameter gradients are summed together
constexpr int64_t kColBlock = 256;  // columns of the second stage

void CpuBackend::layernorm_forward(const LayerNormForward& op) {
  check(op);
  const auto kernel = HWY_DYNAMIC_DISPATCH(layernorm_rows);
  for_row_blocks(op.x.rows, op.x.cols,
                 [&](int64_t first, int64_t last) { kernel(op, first, last); });
}

void CpuBackend::rmsnorm_forward(const RmsNormForward& op) {
  check(op);
  const auto kernel = HWY_DYNAMIC_DISPATCH(rmsnorm_rows);
  for_row_blocks(op.x.rows, op.x.cols,
                 [&](int64_t first, int64_t last) { kernel(op, first, last); });
}

void CpuBackend::layernorm_backward(const LayerNormBackward& op) {
  check(op);
  const int64_t rows = op.x.rows, D = op.x.cols, blocks = div_ceil(rows, kRowBlock);
  if (rows == 0) return;
  float* partials = scratch_.floats(blocks * 2 * D);
  const auto kernel = HWY_DYNAMIC_DISPATCH(layernorm_backward_rows);
  team_.run(blocks, [&](int64_t block, int) {
    kernel(op, block * kRowBlock, std::min((block + 1) * kRowBlock, rows),
           partials + block * 2 * D);
  });
  const auto add = HWY_DYNAMIC_DISPATCH(add_partials);
  team_.run(div_ceil(D, kColBlock), [&](int64_t tile, int) {
    const int64_t first = tile * kColBlock, count = std::min(kColBlock, D - first);
    add(partials + first, blocks, 2 * D, count, op.dgain.as<float>() + first);
    if (op.dbias) add(partials + D + first, blocks, 2 * D, count, op.dbias.as<float>() + first);
  });
}

void CpuBackend::rmsnorm_backward(const RmsNormBackward& op) {
  check(op);
  const int64_t rows = op.x.rows, D = op.x.cols, blocks = div_ceil(rows, kRowBlock);
  if (rows == 0) return;
  float* partials = scratch_.floats(blocks * D);
  const auto kernel = HWY_DYNAMIC_DISPATCH(rmsnorm_backward_rows);
  team_.run(blocks, [&](int64_t block, int) {
    kernel(op, block * kRowBlock, std::min((block + 1) * kRowBlock, rows), partials + block * D);
  });
  const auto add = HWY_DYNAMIC_DISPATCH(add_partials);
  team_.run(div_ceil(D, kColBlock), [&](int64_t tile, int) {
    const int64_t first = tile * kColBlock, count = std::min(kColBlock, D - first);
    add(partials + first, blocks, D, count, op.dgain.as<float>() + first);
  });
}

}  // namespace isoflop::cpu
#endif
