// Which instruction sets the kernels of this folder are compiled for: the compiler's baseline, AVX2
// and AVX-512 on x86. Included before hwy/foreach_target.h.
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
