// A matrix product as every device of this folder computes it, and the three products with a weight
// in that form. Matrices are column-major here, as in cuBLAS: a row-major (rows, cols) view with
// its stride is the column-major (cols, rows) matrix with that leading dimension.
#pragma once
#include "core/view.hpp"
#include "ops/matmul.hpp"

#include <cstdint>

namespace isoflop::gpu {

/// What becomes of the elements of D before they are stored, by GELU in its tanh form:
///   gelu            aux = v, D = gelu(v)
///   gelu_gradient   D = gelu'(aux) v
enum class Epilogue { none, gelu, gelu_gradient };

/// D = scale * op(A) op(B) + beta * C, plus bias[row] in each column; sums in fp32.
struct Product {
  int64_t m = 0, n = 0, k = 0;  // D is (m, n)
  const bf16* a = nullptr;
  const bf16* b = nullptr;
  int64_t lda = 0, ldb = 0;
  bool transpose_a = false, transpose_b = false;
  const void* c = nullptr;  // of D's type; absent when beta is 0
  void* d = nullptr;        // may be c
  int64_t ldc = 0, ldd = 0;
  DType type = DType::bf16;  // of D: bf16 or f32
  float scale = 1, beta = 0;
  const bf16* bias = nullptr;  // may be null; `scale` is in it already
  Epilogue epilogue = Epilogue::none;
  bf16* aux = nullptr;  // with an epilogue, (m, n)
  int64_t ld_aux = 0;
};

/// Whether cuBLASLt takes such an `aux` (CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD).
inline bool takes_epilogue(const Product& p) {
  return p.ld_aux % 8 == 0 && reinterpret_cast<uintptr_t>(p.aux) % 16 == 0;
}

inline int64_t leading(View v) {
  return v.rows > 1 ? v.stride : v.cols;
}

/// y^T = scale W x^T + add^T; `w` is the weight in bf16.
inline Product forward_product(const Matmul& a, View w, const bf16* bias) {
  Product p;
  p.m = a.y.cols, p.n = a.y.rows, p.k = a.x.cols;
  p.a = w.as<bf16>(), p.lda = leading(w), p.transpose_a = true;
  p.b = a.x.as<bf16>(), p.ldb = leading(a.x);
  p.d = a.y.data, p.ldd = leading(a.y);
  p.c = a.add.data, p.ldc = a.add ? leading(a.add) : 0;
  p.scale = static_cast<float>(a.scale), p.beta = a.add ? 1.0f : 0.0f;
  p.bias = bias;
  return p;
}

/// dx^T = scale W^T dy^T
inline Product input_product(const MatmulGradInput& a, View w) {
  Product p;
  p.m = a.dx.cols, p.n = a.dx.rows, p.k = a.dy.cols;
  p.a = w.as<bf16>(), p.lda = leading(w);
  p.b = a.dy.as<bf16>(), p.ldb = leading(a.dy);
  p.c = p.d = a.dx.data, p.ldc = p.ldd = leading(a.dx);
  p.scale = static_cast<float>(a.scale), p.beta = a.accumulate ? 1.0f : 0.0f;
  return p;
}

/// y^T = gelu(W x^T + bias), pre^T = what it is taken of
inline Product gelu_product(const MatmulGelu& a, View w, const bf16* bias) {
  Product p = forward_product({.x = a.x, .w = a.w, .bias = a.bias, .add = {}, .y = a.y}, w, bias);
  p.epilogue = Epilogue::gelu;
  p.aux = a.pre.as<bf16>(), p.ld_aux = leading(a.pre);
  return p;
}

/// dx^T = gelu'(pre^T) scale W^T dy^T. The column sums of dx, which are the bias' gradient, are no
/// part of it: the library would round them to bf16, and not add them to what is there.
inline Product gelu_gradient_product(const MatmulGeluGradInput& a, View w) {
  Product p = input_product({.dy = a.dy, .w = a.w, .dx = a.dx, .scale = a.scale}, w);
  p.c = nullptr;
  p.epilogue = Epilogue::gelu_gradient;
  p.aux = a.pre.as<bf16>(), p.ld_aux = leading(a.pre);
  return p;
}

/// dw^T += scale x^T dy, straight into the fp32 gradient
inline Product weight_product(const MatmulGradWeight& a) {
  Product p;
  p.m = a.dw.cols, p.n = a.dw.rows, p.k = a.dy.rows;
  p.a = a.x.as<bf16>(), p.lda = leading(a.x);
  p.b = a.dy.as<bf16>(), p.ldb = leading(a.dy), p.transpose_b = true;
  p.c = p.d = a.dw.data, p.ldc = p.ldd = leading(a.dw);
  p.type = DType::f32;
  p.scale = static_cast<float>(a.scale), p.beta = 1;
  return p;
}

/// c^T = alpha op(b)^T op(a)^T + beta c^T; a and b are p's in bf16.
inline Product product_of(const StateProduct& p, View a, View b) {
  Product product;
  product.m = p.c.cols, product.n = p.c.rows, product.k = p.transpose_a ? a.rows : a.cols;
  product.a = b.as<bf16>(), product.lda = leading(b), product.transpose_a = p.transpose_b;
  product.b = a.as<bf16>(), product.ldb = leading(a), product.transpose_b = p.transpose_a;
  product.c = p.beta == 0 ? nullptr : p.c.data, product.ldc = leading(p.c);
  product.d = p.c.data, product.ldd = leading(p.c);
  product.type = DType::f32;
  product.scale = static_cast<float>(p.alpha), product.beta = static_cast<float>(p.beta);
  return product;
}

}  // namespace isoflop::gpu
