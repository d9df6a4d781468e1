// AdamW over a list of tensors and sums of squares over a list of tensors, each in one launch;
// contracts in ops/optimizer.hpp and ops/backend.hpp.
#pragma once
#include "cuda/rows.hpp"
#include "ops/optimizer.hpp"

#include <span>
#include <vector>

namespace isoflop::gpu {

inline constexpr int64_t kChunk = 4096;  // elements; of a sum of squares, and a block's share

/// The tensor that block `block` works on: the last one whose first block is not beyond it.
template <class Segment>
ISOFLOP_KERNEL const Segment& segment_of(const Segment* segments, int64_t count, int64_t block) {
  int64_t low = 0, high = count;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (segments[middle].first_block <= block ? low : high) = middle;
  }
  return segments[low];
}

struct AdamWSegment {
  float* p;
  const float* g;
  float* m;
  float* v;
  int64_t size, first_block;
  float lr, decay, beta1, beta2, rest1, rest2;  // decay = lr * weight_decay; rest = 1 - beta
  float eps, correction1, correction2, grad_scale;
};

/// One element; the formula of ops/optimizer.hpp.
ISOFLOP_KERNEL void adamw_element(const AdamWSegment& s, int64_t i) {
  const float g = s.g[i] * s.grad_scale;
  const float m = s.m[i] = s.beta1 * s.m[i] + s.rest1 * g;
  const float v = s.v[i] = s.beta2 * s.v[i] + s.rest2 * g * g;
  const float step = m / s.correction1 / (sqrtf(v / s.correction2) + s.eps);
  s.p[i] = s.p[i] - s.decay * s.p[i] - s.lr * step;
}

struct AdamWKernel {
  const AdamWSegment* segments;
  int64_t count;

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const AdamWSegment& s = segment_of(segments, count, t.block());
    const int64_t first = (t.block() - s.first_block) * kChunk;
    const int64_t last = first + kChunk < s.size ? first + kChunk : s.size;
    for (int64_t i = first + t.thread(); i < last; i += t.threads()) adamw_element(s, i);
  }
};

/// y = a x + b y of contiguous tensors, as one row
struct WeightedSumPart {
  const float* x;
  float* y;
  float a, b;

  template <int W>
  ISOFLOP_KERNEL void apply(int64_t, int64_t first) const {
    for (int64_t i = first; i < first + W; ++i) y[i] = a * x[i] + (b == 0 ? 0 : b * y[i]);
  }
};

struct SquaresSegment {
  const float* x;
  int64_t rows, cols, stride, first_block;
};

/// chunks[block] = the sum over one chunk of a tensor, each thread's share in order, then the
/// threads by a tree.
struct SquaresKernel {
  const SquaresSegment* segments;
  int64_t count;
  double* chunks;

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const SquaresSegment& s = segment_of(segments, count, t.block());
    const int64_t first = (t.block() - s.first_block) * kChunk, size = s.rows * s.cols;
    const int64_t last = first + kChunk < size ? first + kChunk : size;
    double sum = 0;
    for (int64_t i = first + t.thread(); i < last; i += t.threads()) {
      const double value = s.x[s.stride == s.cols ? i : i / s.cols * s.stride + i % s.cols];
      sum += value * value;
    }
    sum = block_sum(t, sum, reinterpret_cast<double*>(t.shared()));
    if (t.thread() == 0) chunks[t.block()] = sum;
  }
};

inline AdamWSegment segment_of(const AdamW& a, int64_t first_block) {
  const auto f = [](double x) { return static_cast<float>(x); };
  return {a.p.as<float>(), a.g.as<float>(),  a.m.as<float>(),  a.v.as<float>(),
          a.p.size(),      first_block,      f(a.lr),          f(a.lr * a.weight_decay),
          f(a.beta1),      f(a.beta2),       f(1 - a.beta1),   f(1 - a.beta2),
          f(a.eps),        f(a.correction1), f(a.correction2), f(a.grad_scale)};
}

/// `segments` is the caller's, so that a step allocates nothing once it has seen the list.
template <class Device>
void adamw(Device& device, std::span<const AdamW> list, std::vector<AdamWSegment>& segments) {
  segments.clear();
  int64_t blocks = 0;
  for (const AdamW& a : list) {
    if (a.p.size() == 0) continue;
    segments.push_back(segment_of(a, blocks));
    blocks += div_ceil(a.p.size(), kChunk);
  }
  if (blocks == 0) return;
  const AdamWSegment* there = device.send(std::span<const AdamWSegment>(segments));
  device.launch({blocks, kThreads, 0}, AdamWKernel{there, static_cast<int64_t>(segments.size())});
}

/// The chunks of the tensors one after another, on the host.
template <class Device>
std::span<const double> square_chunks(Device& device,
                                      std::span<const View> list,
                                      std::vector<SquaresSegment>& segments) {
  segments.clear();
  int64_t blocks = 0;
  for (const View& x : list) {
    if (x.size() == 0) continue;
    segments.push_back({x.as<float>(), x.rows, x.cols, x.rows > 1 ? x.stride : x.cols, blocks});
    blocks += div_ceil(x.size(), kChunk);
  }
  if (blocks == 0) return {};
  const SquaresSegment* there = device.send(std::span<const SquaresSegment>(segments));
  double* chunks = device.template scratch<double>(blocks);
  device.launch({blocks, kThreads, kThreads / kWarp * sizeof(double)},
                SquaresKernel{there, static_cast<int64_t>(segments.size()), chunks});
  return device.receive(chunks, blocks);
}

}  // namespace isoflop::gpu
