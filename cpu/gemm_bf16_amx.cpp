// The AMX instructions behind AmxProduct. Written as assembly, because the intrinsics of one of our
// compilers take no tile numbers from templates; run only where the system granted the tiles.
#include "cpu/gemm_bf16_amx.hpp"

#include "core/error.hpp"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <emmintrin.h>
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

void transpose_pairs(const bf16* from, int64_t step, bf16* to) {
  for (int64_t p = 0; p < kTilePairs; p += 4)
    for (int64_t r = 0; r < kTileRows; r += 4) {
      const auto pairs = [&](int64_t i) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + (p + i) * step + 2 * r));
      };
      const auto store = [&](int64_t i, __m128i row) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to + ((r + i) * kTilePairs + p) * 2), row);
      };
      const __m128i low01 = _mm_unpacklo_epi32(pairs(0), pairs(1));
      const __m128i low23 = _mm_unpacklo_epi32(pairs(2), pairs(3));
      const __m128i high01 = _mm_unpackhi_epi32(pairs(0), pairs(1));
      const __m128i high23 = _mm_unpackhi_epi32(pairs(2), pairs(3));
      store(0, _mm_unpacklo_epi64(low01, low23));
      store(1, _mm_unpackhi_epi64(low01, low23));
      store(2, _mm_unpacklo_epi64(high01, high23));
      store(3, _mm_unpackhi_epi64(high01, high23));
    }
}

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

void transpose_pairs(const bf16* from, int64_t step, bf16* to) {
  for (int64_t r = 0; r < kTileRows; ++r)
    for (int64_t p = 0; p < kTilePairs; ++p)
      std::copy_n(from + p * step + 2 * r, 2, to + (r * kTilePairs + p) * 2);
}

Amx amx_state() {
  return Amx::absent;
}

void gemm_bf16_amx(const GemmBf16&) {
  ISOFLOP_CHECK(false, "AMX on a processor without it");
}

}  // namespace isoflop::cpu

#endif
