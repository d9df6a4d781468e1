// The searches behind quantizers: the scale (and minimum) of a sub-block whose rounded levels have
// the smallest weighted squared error, tried over a row of inverse scales. The runtime that reads
// the files defines both; its sums run over a sub-block's values in order and in fp32, so that a
// vector here holds the same value of several sub-blocks and the bits are the same on every
// machine.
#pragma once
#include <cstdint>

namespace isoflop::blocks {

/// Sub-blocks of 32 values x of weight w on levels 0..top: x ~ scale * level + minimum with minimum
/// <= 0. The inverse scales tried are (first + step * k + top) / (max - min), k = 0..last, each
/// improved by weighted least squares.
struct IntervalSearch {
  int top;
  float first;
  float step;
  int last;
};
/// `lows` gets -minimum. Levels are 32 to a sub-block. A sub-block of one value <= 0 has scale 0
/// and levels 0.
void fit_intervals(const float* x,
                   const float* w,
                   int64_t sub_blocks,
                   const IntervalSearch& search,
                   float* scales,
                   float* lows,
                   uint8_t* levels);

/// Sub-blocks of `width` values (16 or 32) on levels -half..half-1, written plus half: x ~ scale *
/// level, the extreme at or near -half. Scale and written levels are 0 where nothing is above
/// 1e-15.
void fit_symmetric(const float* x,
                   const float* w,
                   int64_t sub_blocks,
                   int width,
                   int half,
                   float* scales,
                   uint8_t* levels);

/// What an importance matrix makes of it: w = importance * sqrt(spread + x^2).
void weigh(const float* x, const float* importance, float spread, int64_t count, float* w);

/// To the nearest whole number, half to even, as the runtime does it: through the mantissa, so that
/// numbers too large for it wrap.
int nearest_level(float value);

}  // namespace isoflop::blocks
