// Element types, and our own 16-bit floats.
//
// bf16 and f16 round to nearest, ties to even, on every machine; NaN stays NaN (quiet), overflow
// becomes infinity, f16 subnormals are kept. f64 and c128 exist for the oracles in ops/reference.
#pragma once
#include <bit>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace isoflop {

struct bf16 {
  uint16_t bits = 0;
};
struct f16 {
  uint16_t bits = 0;
};

bf16 to_bf16(float value);
/// One of the two neighbours: the one further from zero in as many of the 65,536 values of `random`
/// as makes their mean `value`. NaN stays NaN.
bf16 to_bf16_at_random(float value, uint32_t random);
f16 to_f16(float value);
inline float to_float(bf16 value) {
  return std::bit_cast<float>(uint32_t{value.bits} << 16);
}
/// Exact. The exponent's bias is put right by a product, which normalizes subnormals as well.
inline float to_float(f16 value) {
  const uint32_t sign = uint32_t{value.bits} << 16 & 0x80000000u;
  const uint32_t rest = (value.bits & 0x7fffu) << 13;
  const uint32_t magnitude = rest >= 0x1fu << 23
                                 ? rest + (0xe0u << 23)  // infinity and NaN
                                 : std::bit_cast<uint32_t>(std::bit_cast<float>(rest) * 0x1p112f);
  return std::bit_cast<float>(sign | magnitude);
}

enum class DType : uint8_t { f32, bf16, f16, f64, c128, i32, u32, u16, u8 };

size_t size_of(DType dtype);
std::string_view name_of(DType dtype);

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::f32;
}
template <>
constexpr DType dtype_of<bf16>() {
  return DType::bf16;
}
template <>
constexpr DType dtype_of<f16>() {
  return DType::f16;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::f64;
}
template <>
constexpr DType dtype_of<std::complex<double>>() {
  return DType::c128;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::i32;
}
template <>
constexpr DType dtype_of<uint32_t>() {
  return DType::u32;
}
template <>
constexpr DType dtype_of<uint16_t>() {
  return DType::u16;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::u8;
}

}  // namespace isoflop
