// What a kernel is here, and what it may ask of the thread that runs it.
//
// A kernel is a struct whose members are its arguments, with
//   template <class Thread> ISOFLOP_KERNEL void operator()(Thread& t) const;
// On a GPU t is a DeviceThread. In tests it is a thread of an emulated GPU
// (tests/cuda/emulator.hpp), which runs the same code on the host, so that indices and barriers are
// checked without a device. Grids and blocks have one dimension; a kernel takes the rest out of its
// block's number.
//
// A warp is 32 lanes. shuffle_xor, mma and the ldmatrix calls are made by all lanes of a warp
// together, sync by all threads of a block.
#pragma once
#include "core/dtype.hpp"

#include <cmath>
#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define ISOFLOP_KERNEL __device__ __forceinline__
#define ISOFLOP_UNROLL _Pragma("unroll")
#else
#define ISOFLOP_KERNEL inline
#define ISOFLOP_UNROLL
#endif

namespace isoflop::gpu {

inline constexpr int kWarp = 32;

/// How many blocks of how many threads, with how many bytes of shared memory each.
struct Launch {
  int64_t blocks = 0;
  int threads = 0;
  size_t shared = 0;
};

#ifdef __CUDACC__
struct DeviceThread {
  __device__ int64_t block() const { return blockIdx.x; }
  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int threads() const { return static_cast<int>(blockDim.x); }
  __device__ std::byte* shared() const {
    extern __shared__ uint4 shared_memory[];  // 16 bytes aligned
    return reinterpret_cast<std::byte*>(shared_memory);
  }
  __device__ void sync() { __syncthreads(); }
  template <class T>
  __device__ T shuffle_xor(T value, int mask) {
    return __shfl_xor_sync(0xffffffffu, value, mask);
  }

  /// c (16, 8) += a (16, 16) b (16, 8) in bf16, summed in fp32; fragments as in the PTX manual,
  /// "Matrix Fragments for mma.m16n8k16 with floating point type".
  __device__ void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
  /// Four 8 x 8 matrices from shared memory; lanes 8i .. 8i+7 pass the rows of matrix i. Lane l
  /// gets of each the elements 2(l%4) and 2(l%4)+1 of row l/4.
  __device__ void ldmatrix(uint32_t (&r)[4], const bf16* row) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  }
  /// The same of the transposed matrices: elements 2(l%4) and 2(l%4)+1 of column l/4.
  __device__ void ldmatrix_transposed(uint32_t (&r)[4], const bf16* row) {
    const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  }
};
#endif

ISOFLOP_KERNEL float load(const bf16* p) {
#ifdef __CUDACC__
  return __uint_as_float(static_cast<uint32_t>(p->bits) << 16);
#else
  return to_float(*p);
#endif
}
ISOFLOP_KERNEL float load(const float* p) {
  return *p;
}

/// Two neighbours as a 32-bit register of mma; round to nearest even.
ISOFLOP_KERNEL uint32_t pack_bf16(float low, float high) {
#ifdef __CUDACC__
  uint32_t packed;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
  return packed;
#else
  return to_bf16(low).bits | static_cast<uint32_t>(to_bf16(high).bits) << 16;
#endif
}
ISOFLOP_KERNEL float unpack_bf16(uint32_t pair, int half) {
  const bf16 part = {static_cast<uint16_t>(pair >> (16 * half))};
  return load(&part);
}
ISOFLOP_KERNEL void store(bf16* p, float value) {
  p->bits = static_cast<uint16_t>(pack_bf16(value, 0) & 0xffffu);
}
ISOFLOP_KERNEL void store(float* p, float value) {
  *p = value;
}

/// 16 bytes at once, the widest a thread moves; read and written over memory of any type.
struct [[gnu::may_alias]] alignas(16) Words {
  uint32_t w[4];
};

/// W neighbours, W = 1 or 8. Eight bf16 move as one piece: p must be aligned to it.
template <int W, class T>
ISOFLOP_KERNEL void load_pack(const T* p, float (&v)[W]) {
  if constexpr (W == 8 && sizeof(T) == 2) {
    const Words words = *reinterpret_cast<const Words*>(p);
    ISOFLOP_UNROLL for (int i = 0; i < W; ++i) v[i] = unpack_bf16(words.w[i / 2], i % 2);
  } else {
    ISOFLOP_UNROLL for (int i = 0; i < W; ++i) v[i] = load(p + i);
  }
}
template <int W, class T>
ISOFLOP_KERNEL void store_pack(T* p, const float (&v)[W]) {
  if constexpr (W == 8 && sizeof(T) == 2) {
    Words words;
    ISOFLOP_UNROLL for (int i = 0; i < 4; ++i) words.w[i] = pack_bf16(v[2 * i], v[2 * i + 1]);
    *reinterpret_cast<Words*>(p) = words;
  } else {
    ISOFLOP_UNROLL for (int i = 0; i < W; ++i) store(p + i, v[i]);
  }
}

/// Sum or maximum over a warp, the same on every lane and on every run.
template <class Thread, class T>
ISOFLOP_KERNEL T warp_sum(Thread& t, T value) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value += t.shuffle_xor(value, mask);
  return value;
}
template <class Thread>
ISOFLOP_KERNEL float warp_max(Thread& t, float value) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value = fmaxf(value, t.shuffle_xor(value, mask));
  return value;
}

/// Over a block of whole warps, through one T of shared memory a warp at `partial`; ends with the
/// block in step, so that `partial` may be used again.
template <class Thread, class T>
ISOFLOP_KERNEL T block_sum(Thread& t, T value, T* partial) {
  value = warp_sum(t, value);
  if (t.thread() % kWarp == 0) partial[t.thread() / kWarp] = value;
  t.sync();
  T sum = 0;
  for (int w = 0; w < t.threads() / kWarp; ++w) sum += partial[w];
  t.sync();
  return sum;
}
template <class Thread>
ISOFLOP_KERNEL float block_max(Thread& t, float value, float* partial) {
  value = warp_max(t, value);
  if (t.thread() % kWarp == 0) partial[t.thread() / kWarp] = value;
  t.sync();
  float max = partial[0];
  for (int w = 1; w < t.threads() / kWarp; ++w) max = fmaxf(max, partial[w]);
  t.sync();
  return max;
}

}  // namespace isoflop::gpu
