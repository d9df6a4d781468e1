// What the files of this folder share: the class behind make_cpu_backend, its scratch memory, and
// the single-threaded matrix product they are built on. Not for other folders.
#pragma once
#include "core/math.hpp"
#include "core/threads.hpp"
#include "cpu/gemm_bf16.hpp"
#include "ops/backend.hpp"

#include <algorithm>
#include <deque>
#include <type_traits>

namespace isoflop::cpu {

/// Memory that grows to the largest request and then stays; contents are not kept between requests.
class Scratch {
 public:
  float* floats(int64_t count);
  double* doubles(int64_t count);
  bf16* bf16s(int64_t count);

 private:
  void* bytes(size_t count);
  Buffer buffer_;
};

/// What a WeightRef's handle points to.
struct Weight {
  View master;
  Buffer forward, backward;  // its panels in bf16 for y = x W^T and dx = dy W; empty until used
  BlockMatrix blocks = {};   // instead of a master
};
inline Weight& weight_of(const WeightRef& w) {
  return *static_cast<Weight*>(const_cast<void*>(w.handle));
}
inline View master_of(const WeightRef& w) {
  const Weight& weight = weight_of(w);
  ISOFLOP_CHECK(!weight.blocks, "quantized blocks have no gradient and no fp32 form");
  return weight.master;
}

/// result = add + scale (A B + bias), summed in fp32.
struct Bf16Product {
  const bf16* a = nullptr;  // (rows of the result, inner), or its transpose
  int64_t lda = 0;
  bool transposed_a = false;
  const bf16* b = nullptr;  // panels of (inner, columns of the result)
  int64_t inner = 0;
  View bias, add;  // either may be absent; add may be the result
  View result;
  double scale = 1, add_scale = 1;
};

/// to += scale * column sums of `from`, fp32 or bf16.
void add_column_sums(View from, float scale, float* to);

/// Highway's name of the instruction set in use.
const char* vector_target();

class CpuBackend final : public Backend {
 public:
  CpuBackend(ThreadTeam& team, DType activation, Bf16Kernel kernel);

  DType activation_dtype() const override { return activation_; }
  DType state_dtype() const override { return DType::f32; }
  std::string description() const override;
  Buffer allocate(size_t bytes, const std::string& what) override;
  WeightRef prepare(View master) override;
  bool multiplies_by(uint32_t type, int64_t cols) const override;
  WeightRef prepare_blocks(const BlockMatrix&) override;
  void refresh(WeightRef) override;  // fp32 products read the masters themselves

  void embedding_forward(const EmbeddingForward&) override;
  void embedding_backward(const EmbeddingBackward&) override;

  void matmul(const Matmul&) override;
  void matmul_grad_input(const MatmulGradInput&) override;
  void matmul_grad_weight(const MatmulGradWeight&) override;

  void layernorm_forward(const LayerNormForward&) override;
  void layernorm_backward(const LayerNormBackward&) override;
  void rmsnorm_forward(const RmsNormForward&) override;
  void rmsnorm_backward(const RmsNormBackward&) override;

  void rope(const Rope&) override;
  void attention_forward(const AttentionForward&) override;
  void attention_backward(const AttentionBackward&) override;

  void gelu_forward(const GeluForward&) override;
  void gelu_backward(const GeluBackward&) override;
  void swiglu_forward(const SwigluForward&) override;
  void swiglu_backward(const SwigluBackward&) override;

  void softcap(const SoftCap&) override;
  void cross_entropy(const CrossEntropy&) override;

  void adamw(const AdamW&) override;
  void round_to_blocks(const BlockRounding&) override;
  void state_product(const StateProduct&) override;
  void weighted_sum(const WeightedSum&) override;
  double sum_squares(View) override;

  void zero(View) override;
  void copy(View from, View to) override;
  void add(View from, View to) override;

 private:
  /// work(first, last) or work(first, last, thread) on blocks of rows of about 64 KB each, which is
  /// a few microseconds: enough to outweigh handing out a tile, and small tensors stay with the
  /// caller.
  template <class Work>
  void for_row_blocks(int64_t rows, int64_t cols, Work&& work) {
    const int64_t block = std::max<int64_t>(1, kBlockElements / std::max<int64_t>(cols, 1));
    team_.run(div_ceil(rows, block), [&](int64_t tile, int thread) {
      const int64_t first = tile * block, last = std::min(first + block, rows);
      if constexpr (std::is_invocable_v<Work, int64_t, int64_t, int>)
        work(first, last, thread);
      else
        work(first, last);
    });
  }
  /// work(row, column, count) on pieces of two views of one shape; both contiguous = one long row.
  template <class Work>
  void for_spans(View a, View b, Work&& work) {
    const bool flat = a.contiguous() && b.contiguous();
    const int64_t rows = flat ? 1 : a.rows, cols = flat ? a.size() : a.cols;
    const int64_t pieces = div_ceil(cols, kBlockElements);
    const int64_t per_tile = std::max<int64_t>(1, kBlockElements / std::max<int64_t>(cols, 1));
    team_.run(div_ceil(rows * pieces, per_tile), [&](int64_t tile, int) {
      const int64_t last = std::min((tile + 1) * per_tile, rows * pieces);
      for (int64_t piece = tile * per_tile; piece < last; ++piece) {
        const int64_t column = piece % pieces * kBlockElements;
        work(piece / pieces, column, std::min(kBlockElements, cols - column));
      }
    });
  }
  static constexpr int64_t kBlockElements = 16 * 1024;

  void attention_few(const AttentionForward&);
  void attention_forward_blocks(const AttentionForward&);
  void attention_backward_blocks(const AttentionBackward&);
  void attention_forward_bf16(const AttentionForward&);
  void attention_backward_bf16(const AttentionBackward&);
  void embed_blocks(const EmbeddingForward&, const BlockMatrix& table);
  void matmul_blocks(const Matmul&, const BlockMatrix&);
  void matmul_bf16(const Matmul&);
  void matmul_grad_input_bf16(const MatmulGradInput&);
  void matmul_grad_weight_bf16(const MatmulGradWeight&);
  void state_product_bf16(const StateProduct&);
  void multiply_bf16(const Bf16Product&);
  const bf16* forward_panels(const WeightRef&);
  const bf16* backward_panels(const WeightRef&);
  void pack(View source, bf16* of_transpose, bf16* of_source);

  ThreadTeam& team_;
  DType activation_;
  Bf16Kernel kernel_;
  Scratch scratch_, panels_;
  std::deque<Weight> weights_;  // addresses are handles, so they must not move
};

}  // namespace isoflop::cpu
