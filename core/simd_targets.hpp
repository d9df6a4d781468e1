// Which instruction sets vector kernels are compiled for: the compiler's baseline, AVX2 and AVX-512
// on x86; NEON on aarch64, where vectors of SVE could not be kept in arrays. Included before
// hwy/foreach_target.h.
#pragma once

#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
