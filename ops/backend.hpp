// Backend: what a device can do. This list is the table of contents of the numerics: one virtual
// per operation, argument structs in the headers below, definitions in ops/reference.
//
// Conventions, stated once: parameter gradients accumulate (+=), activation gradients overwrite,
// the residual gradient accumulates inside the norms' backward. Views are borrowed for the call.
// Calls are ordered; synchronize() waits for them (nothing to wait for on a CPU). No op allocates
// once a shape has been seen. Activations have activation_dtype(); parameters, gradients, moments
// and row statistics have state_dtype(). A result's bits do not depend on the number of threads.
#pragma once
#include "core/buffer.hpp"
#include "core/param.hpp"
#include "ops/activation.hpp"
#include "ops/attention.hpp"
#include "ops/embedding.hpp"
#include "ops/loss.hpp"
#include "ops/matmul.hpp"
#include "ops/norm.hpp"
#include "ops/optimizer.hpp"
#include "ops/rope.hpp"
#include "ops/rounding.hpp"

#include <memory>
#include <span>
#include <string>

namespace isoflop {

class Backend {
 public:
  virtual ~Backend() = default;

  virtual DType activation_dtype() const = 0;
  virtual DType state_dtype() const = 0;
  /// Device and instruction set, for people and for the kernel plan: "cpu avx3_zen4, oneDNN 2.6.3".
  virtual std::string description() const = 0;
  /// What was chosen by timing since the start, a line each, for the kernel plan: with the same
  /// lines given to use_choices() before the first op, another backend of this description computes
  /// the same bits. Empty where nothing is chosen so.
  virtual std::string choices() const { return {}; }
  /// UserError when a line cannot be followed here.
  virtual void use_choices(const std::string& /*lines*/) {}
  /// Bytes that allocate() has handed out at once at most, where that is not the host's memory;
  /// else 0.
  virtual size_t peak_bytes() const { return 0; }

  /// Zeroed memory of the device, for activations, parameters, gradients and moments.
  virtual Buffer allocate(size_t bytes, const std::string& what) = 0;
  /// Whether host code may read and write it, after synchronize().
  virtual bool in_host_memory() const { return true; }
  /// Whole contiguous tensors of one shape and type, from host memory to the device's and back.
  /// Both wait: `host` may be used at once.
  virtual void upload(View host, View here);
  virtual void download(View here, View host);
  virtual void synchronize() {}

  /// Makes the backend's own form of a master weight, which must outlive it; refresh() after a
  /// change.
  virtual WeightRef prepare(View master) = 0;
  virtual void refresh(WeightRef) = 0;
  /// Whether prepare_blocks takes matrices of this type with rows of `cols`.
  virtual bool multiplies_by(uint32_t /*type*/, int64_t /*cols*/) const { return false; }
  virtual WeightRef prepare_blocks(const BlockMatrix&) {
    ISOFLOP_CHECK(false, "{} does not multiply by quantized blocks", description());
  }

  virtual void embedding_forward(const EmbeddingForward&) = 0;
  virtual void embedding_backward(const EmbeddingBackward&) = 0;

  virtual void matmul(const Matmul&) = 0;
  virtual void matmul_grad_input(const MatmulGradInput&) = 0;
  virtual void matmul_grad_weight(const MatmulGradWeight&) = 0;
  /// By default two of the operations of this list after another.
  virtual void matmul_gelu(const MatmulGelu&);
  virtual void matmul_gelu_grad_input(const MatmulGeluGradInput&);

  virtual void layernorm_forward(const LayerNormForward&) = 0;
  virtual void layernorm_backward(const LayerNormBackward&) = 0;
  virtual void rmsnorm_forward(const RmsNormForward&) = 0;
  virtual void rmsnorm_backward(const RmsNormBackward&) = 0;

  virtual void rope(const Rope&) = 0;
  virtual void attention_forward(const AttentionForward&) = 0;
  virtual void attention_backward(const AttentionBackward&) = 0;

  virtual void gelu_forward(const GeluForward&) = 0;
  virtual void gelu_backward(const GeluBackward&) = 0;
  virtual void swiglu_forward(const SwigluForward&) = 0;
  virtual void swiglu_backward(const SwigluBackward&) = 0;

  virtual void softcap(const SoftCap&) = 0;
  virtual void cross_entropy(const CrossEntropy&) = 0;

  virtual void adamw(const AdamW&) = 0;
  virtual void round_to_blocks(const BlockRounding&) {
    ISOFLOP_CHECK(false, "{} does not round to quantized blocks", description());
  }
  virtual void state_product(const StateProduct&) = 0;
  virtual void weighted_sum(const WeightedSum&) = 0;
  /// One after another, in as few passes as the device can.
  virtual void adamw_all(std::span<const AdamW> list) {
    for (const AdamW& one : list) adamw(one);
  }
  /// Sum of squares in double: chunks of 4,096 elements from the start, then the chunks in order.
  /// NaN or infinity in, NaN or infinity out.
  virtual double sum_squares(View) = 0;
  /// The sum over tensors, in their order, of each one's sum_squares.
  virtual double sum_squares_all(std::span<const View> list) {
    double sum = 0;
    for (const View& one : list) sum += sum_squares(one);
    return sum;
  }

  /// Whether a step's numbers may stay on the device until the host asks for them, so that it waits
  /// once a step: by the three operations below, and AdamW::factor.
  virtual bool keeps_numbers() const { return false; }
  /// sum (1, 1) in f64 += the sum of x, in double.
  virtual void add_sum(View /*x*/, View /*sum*/) { no_numbers(); }
  virtual void step_numbers(const StepNumbers&) { no_numbers(); }
  /// Starts to bring them to the host as they are now.
  virtual void fetch(View /*numbers*/) { no_numbers(); }
  /// Waits for what was fetched, not for what was called since: in host memory, until the next
  /// fetch.
  virtual View fetched() { no_numbers(); }

  virtual void zero(View) = 0;
  virtual void copy(View from, View to) = 0;
  virtual void add(View from, View to) = 0;  // to += from

  // What several ranks need of it.

  /// What carries the calls out in order, as the device's own interface names it (a cudaStream_t),
  /// for what has to come behind them or before them; null where they are done when they return.
  virtual void* queue() { return nullptr; }
  /// sum_squares_all in two steps, of tensors that are shared out. First: squares (1, n) in f64, in
  /// the backend's memory = the sum of each chunk of the tensors, one after another.
  virtual void chunk_squares(std::span<const View> list, View squares);
  /// Then, on the host: the sum of such squares of whole tensors, `chunks` of each; where the
  /// backend keeps numbers, in the order of step_numbers.
  virtual double sum_chunks(std::span<const double> squares, std::span<const int64_t> chunks) const;

 private:
  [[noreturn]] void no_numbers() const {
    ISOFLOP_CHECK(false, "{} keeps no numbers", description());
  }
};

}  // namespace isoflop
