// The AMX instructions behind AmxProduct. Written as assembly, because the intrinsics of one of our
// compilers take no tile numbers from templates; run only where the system granted the tiles.
#include "cpu/gemm_bf16_amx.hpp"

#include "core/error.hpp"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace isoflop::cpu {

namespace {

/// What LDTILECFG reads: here eight tiles of 16 rows of 64 bytes.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);
constexpr TileConfig kConfig;

struct AmxTiles {
  static void begin() { asm volatile("ldtilecfg %0" ::"m"(kConfig)); }
  static void end() { asm volatile("tilerelease"); }
  template <int kTile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" ::"n"(kTile));
  }
  template <int kTile>
  static void load(const void* from, int64_t row_bytes) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(row_bytes), "n"(kTile)
                 : "memory");
  }
  template <int kTile>
  static void store(void* to, int64_t row_bytes) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(row_bytes), "n"(kTile) : "memory");
  }
  static void prefetch(const bf16* from) {
    for (int64_t row = 0; row < kTilePairs; ++row)
      __builtin_prefetch(from + row * 2 * kTileRows, 0, 3);
  }
  static void transpose(const bf16* from, int64_t step, bf16* tile) {
    transpose_tile(from, step, tile);
  }
  template <int kC, int kA, int kB>
  static void dot() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"n"(kC), "n"(kA), "n"(kB));
  }
};

constexpr uint32_t kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;  // EDX of leaf 7
constexpr uint32_t kXsave = 1u << 27;                         // ECX of leaf 1

bool has_amx() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  if ((d & kAmxBf16) == 0 || (d & kAmxTile) == 0) return false;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & kXsave) != 0;
}

/// Whether the system keeps the tiles when it switches between processes.
bool system_saves_tiles() {
  constexpr uint32_t kTileState = 3u << 17;
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kTileState) == kTileState;
}

Amx ask_for_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  if (!has_amx()) return Amx::absent;
  if (!system_saves_tiles()) return Amx::refused;
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0 ? Amx::granted
                                                                       : Amx::refused;
}

}  // namespace

// g++ 12 says of its own header that it uses what is not initialized (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
// Two tokens are interleaved in each 128-bit lane, of which a register gets every fourth pair; then
// 4 x 4 pairs are transposed within the lanes.
__attribute__((target("avx512f,avx512bw"))) void transpose_tile(const bf16* from,
                                                                int64_t step,
                                                                bf16* tile) {
  const auto eight = [&](int64_t i, int64_t r) __attribute__((target("avx512f,avx512bw"))) {
    const auto lane = [&](int64_t at) __attribute__((target("avx512f,avx512bw"))) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + at * step + r));
    };
    __m512i rows = _mm512_castsi128_si512(lane(i));
    rows = _mm512_mask_broadcast_i32x4(rows, 0x00f0, lane(i + 8));
    rows = _mm512_mask_broadcast_i32x4(rows, 0x0f00, lane(i + 16));
    return _mm512_mask_broadcast_i32x4(rows, 0xf000, lane(i + 24));
  };
  for (int64_t half = 0; half < 2; ++half) {
    __m512i low[4], high[4];  // rows 0 to 3 and 4 to 7 of the half; pairs q, q + 4, q + 8, q + 12
    for (int64_t q = 0; q < 4; ++q) {
      const __m512i even = eight(2 * q, 8 * half), odd = eight(2 * q + 1, 8 * half);
      low[q] = _mm512_unpacklo_epi16(even, odd);
      high[q] = _mm512_unpackhi_epi16(even, odd);
    }
    for (const __m512i* pairs : {low, high}) {
      const __m512i a = _mm512_unpacklo_epi32(pairs[0], pairs[1]);
      const __m512i b = _mm512_unpacklo_epi32(pairs[2], pairs[3]);
      const __m512i c = _mm512_unpackhi_epi32(pairs[0], pairs[1]);
      const __m512i d = _mm512_unpackhi_epi32(pairs[2], pairs[3]);
      bf16* to = tile + (8 * half + (pairs == low ? 0 : 4)) * 2 * kTilePairs;
      _mm512_storeu_si512(to, _mm512_unpacklo_epi64(a, b));
      _mm512_storeu_si512(to + 2 * kTilePairs, _mm512_unpackhi_epi64(a, b));
      _mm512_storeu_si512(to + 4 * kTilePairs, _mm512_unpacklo_epi64(c, d));
      _mm512_storeu_si512(to + 6 * kTilePairs, _mm512_unpackhi_epi64(c, d));
    }
  }
}
#pragma GCC diagnostic pop

Amx amx_state() {
  static const Amx state = ask_for_tiles();
  return state;
}

void gemm_bf16_amx(const GemmBf16& product) {
  AmxProduct<AmxTiles>(product).run();
}

}  // namespace isoflop::cpu

#else

namespace isoflop::cpu {

void transpose_tile(const bf16* from, int64_t step, bf16* tile) {
  for (int64_t r = 0; r < kTileRows; ++r)
    for (int64_t i = 0; i < 2 * kTilePairs; ++i) tile[r * 2 * kTilePairs + i] = from[i * step + r];
}

Amx amx_state() {
  return Amx::absent;
}

void gemm_bf16_amx(const GemmBf16&) {
  ISOFLOP_CHECK(false, "AMX on a processor without it");
}

}  // namespace isoflop::cpu

#endif
