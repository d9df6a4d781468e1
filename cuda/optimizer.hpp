// AdamW over a list of tensors and sums of squares over a list of tensors, each in one launch, and
// the numbers of a step; contracts in ops/optimizer.hpp and ops/backend.hpp.
#pragma once
#include "cuda/rows.hpp"
#include "ops/optimizer.hpp"

#include <span>
#include <vector>

namespace isoflop::gpu {

inline constexpr int64_t kChunk = 4096;  // elements; of a sum of squares, and a block's share

inline constexpr int kNumbersThreads = 512;  // a large model has a million chunks

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
  void *m, *v;
  int64_t size, first_block;
  float lr, decay, beta1, beta2, rest1, rest2;  // decay = lr * weight_decay; rest = 1 - beta
  float eps, correction1, correction2, grad_scale;
  const double* factor;  // may be null
  RandomRounding rounding;
};

/// philox of core/rng.hpp.
ISOFLOP_KERNEL Words random_words(const RandomRounding& at, uint64_t counter) {
  uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32);
  uint32_t c2 = static_cast<uint32_t>(at.stream), c3 = static_cast<uint32_t>(at.stream >> 32);
  uint32_t k0 = static_cast<uint32_t>(at.seed), k1 = static_cast<uint32_t>(at.seed >> 32);
  ISOFLOP_UNROLL for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

/// What moments are stored as; `random` has 16 bits.
ISOFLOP_KERNEL void store_moment(float* to, float value, uint32_t /*random*/) {
  *to = value;
}
ISOFLOP_KERNEL void store_moment(bf16* to, float value, uint32_t random) {
#ifdef __CUDACC__
  const uint32_t bits = __float_as_uint(value);
  to->bits = static_cast<uint16_t>((value != value ? bits | 0x400000u : bits + random) >> 16);
#else
  *to = to_bf16_at_random(value, random);
#endif
}

/// One element; the formula of ops/optimizer.hpp.
template <class Moment>
ISOFLOP_KERNEL void adamw_element(const AdamWSegment& s, float scale, int64_t i, uint32_t random) {
  Moment *to_m = static_cast<Moment*>(s.m) + i, *to_v = static_cast<Moment*>(s.v) + i;
  const float g = s.g[i] * scale;
  const float m = s.beta1 * load(to_m) + s.rest1 * g;
  const float v = s.beta2 * load(to_v) + s.rest2 * g * g;
  store_moment(to_m, m, random & 0xffffu);
  store_moment(to_v, v, random >> 16);
  const float step = m / s.correction1 / (sqrtf(v / s.correction2) + s.eps);
  s.p[i] = s.p[i] - s.decay * s.p[i] - s.lr * step;
}

template <class Moment>
struct AdamWKernel {
  const AdamWSegment* segments;
  int64_t count;

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    const AdamWSegment& s = segment_of(segments, count, t.block());
    const int64_t first = (t.block() - s.first_block) * kChunk;
    const int64_t last = first + kChunk < s.size ? first + kChunk : s.size;
    const float scale = s.factor ? s.grad_scale * static_cast<float>(*s.factor) : s.grad_scale;
    if (scale != scale) return;
    if constexpr (sizeof(Moment) == sizeof(float)) {
      for (int64_t i = first + t.thread(); i < last; i += t.threads())
        adamw_element<Moment>(s, scale, i, 0);
    } else {  // four neighbours share a call of philox
      for (int64_t four = first + 4 * t.thread(); four < last; four += 4 * t.threads()) {
        const Words words =
            random_words(s.rounding, s.rounding.counter + static_cast<uint64_t>(four / 4));
        ISOFLOP_UNROLL for (int k = 0; k < 4; ++k) if (four + k < last)
            adamw_element<Moment>(s, scale, four + k, words.w[k]);
      }
    }
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
  return {a.p.as<float>(),
          a.g.as<float>(),
          a.m.data,
          a.v.data,
          a.p.size(),
          first_block,
          f(a.lr),
          f(a.lr * a.weight_decay),
          f(a.beta1),
          f(a.beta2),
          f(1 - a.beta1),
          f(1 - a.beta2),
          f(a.eps),
          f(a.correction1),
          f(a.correction2),
          f(a.grad_scale),
          a.factor ? a.factor.as<double>() : nullptr,
          a.rounding};
}

/// All moments of the list have one type. `segments` is the caller's, so that a step allocates
/// nothing once it has seen the list.
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
  const Launch launch{blocks, kThreads, 0};
  const auto count = static_cast<int64_t>(segments.size());
  if (list[0].m.dtype == DType::bf16)
    device.launch(launch, AdamWKernel<bf16>{there, count});
  else
    device.launch(launch, AdamWKernel<float>{there, count});
}

/// One block: total += the sum of x, each thread's share in order, then the threads by a tree.
struct AddSumKernel {
  const float* x;
  int64_t count;
  double* total;

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    double sum = 0;
    for (int64_t i = t.thread(); i < count; i += t.threads()) sum += x[i];
    sum = block_sum(t, sum, reinterpret_cast<double*>(t.shared()));
    if (t.thread() == 0) *total += sum;
  }
};

/// One block: numbers (ops/optimizer.hpp) from the chunks' sums of squares, in the same way.
struct StepNumbersKernel {
  const double* chunks;
  int64_t count, losses;
  double* numbers;
  double clip;

  template <class Thread>
  ISOFLOP_KERNEL void operator()(Thread& t) const {
    double squares = 0;
    for (int64_t i = t.thread(); i < count; i += t.threads()) squares += chunks[i];
    squares = block_sum(t, squares, reinterpret_cast<double*>(t.shared()));
    if (t.thread() != 0) return;
    double not_finite = squares - squares;  // 0, or NaN
    for (int64_t i = 0; i < losses; ++i) not_finite += numbers[i] - numbers[i];
    const double factor = clip / (sqrt(squares) + 1e-6);
    numbers[losses] = squares;
    numbers[losses + 1] = not_finite + (clip > 0 && factor < 1 ? factor : 1.0);
  }
};

/// What StepNumbersKernel makes of the chunks' sums, on the host: the same additions in the same
/// order.
inline double sum_as_on_device(std::span<const double> chunks) {
  double sum = 0;
  for (size_t warp = 0; warp < kNumbersThreads; warp += kWarp) {
    double lanes[kWarp] = {};
    for (size_t lane = 0; lane < kWarp; ++lane)
      for (size_t i = warp + lane; i < chunks.size(); i += kNumbersThreads)
        lanes[lane] += chunks[i];
    for (size_t half = kWarp / 2; half > 0; half /= 2)  // lane 0 of warp_sum
      for (size_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    sum += lanes[0];
  }
  return sum;
}

/// The chunks' sums, tensor after tensor, on the device: at `to`, or until the next scratch.
struct SquareChunks {
  const double* there;
  int64_t count;
};
template <class Device>
SquareChunks square_chunks(Device& device,
                           std::span<const View> list,
                           std::vector<SquaresSegment>& segments,
                           double* to = nullptr) {
  segments.clear();
  int64_t blocks = 0;
  for (const View& x : list) {
    if (x.size() == 0) continue;
    segments.push_back({x.as<float>(), x.rows, x.cols, x.rows > 1 ? x.stride : x.cols, blocks});
    blocks += div_ceil(x.size(), kChunk);
  }
  if (blocks == 0) return {nullptr, 0};
  const SquaresSegment* there = device.send(std::span<const SquaresSegment>(segments));
  double* chunks = to ? to : device.template scratch<double>(blocks);
  device.launch({blocks, kThreads, kThreads / kWarp * sizeof(double)},
                SquaresKernel{there, static_cast<int64_t>(segments.size()), chunks});
  return {chunks, blocks};
}

template <class Device>
void add_sum(Device& device, View x, View sum) {
  device.launch({1, kThreads, kThreads / kWarp * sizeof(double)},
                AddSumKernel{x.as<float>(), x.size(), sum.as<double>()});
}
template <class Device>
void step_numbers(Device& device, const StepNumbers& a, std::vector<SquaresSegment>& segments) {
  const SquareChunks chunks = square_chunks(device, a.gradients, segments);
  device.launch({1, kNumbersThreads, kNumbersThreads / kWarp * sizeof(double)},
                StepNumbersKernel{chunks.there, chunks.count, StepNumbers::sums(a.numbers).cols,
                                  a.numbers.as<double>(), a.clip});
}

}  // namespace isoflop::gpu
