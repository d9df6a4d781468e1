// ProfilingBackend: another backend, with the time of each operation in a trace and summed by name.
// For `train --profile`, the tables of `bench`, and now and then a step of any run (the costliest
// operation on the progress line). Results are those of the other backend.
#pragma once
#include "ops/backend.hpp"
#include "ops/work.hpp"
#include "report/trace.hpp"

#include <vector>

namespace isoflop {

/// All calls of one operation.
struct OpTotal {
  const char* name;  // as in Backend
  int64_t calls = 0;
  double seconds = 0;
  OpWork work;
};

class ProfilingBackend final : public Backend {
 public:
  /// Both outlive it.
  ProfilingBackend(Backend& backend, Trace& trace) : backend_(backend), trace_(trace) {}

  /// In the order in which they were first called.
  const std::vector<OpTotal>& totals() const { return totals_; }
  void forget_totals() { totals_.clear(); }
  /// Off, calls go straight through. On at first.
  void measure(bool on) { on_ = on; }

  DType activation_dtype() const override { return backend_.activation_dtype(); }
  DType state_dtype() const override { return backend_.state_dtype(); }
  std::string description() const override { return backend_.description(); }
  std::string choices() const override { return backend_.choices(); }
  void use_choices(const std::string& lines) override { backend_.use_choices(lines); }
  size_t peak_bytes() const override { return backend_.peak_bytes(); }
  Buffer allocate(size_t bytes, const std::string& what) override {
    return backend_.allocate(bytes, what);
  }
  bool in_host_memory() const override { return backend_.in_host_memory(); }
  void upload(View host, View here) override { backend_.upload(host, here); }
  void download(View here, View host) override { backend_.download(here, host); }
  void synchronize() override { backend_.synchronize(); }
  void* queue() override { return backend_.queue(); }
  WeightRef prepare(View master) override { return backend_.prepare(master); }
  void refresh(WeightRef weight) override;

  void embedding_forward(const EmbeddingForward&) override;
  void embedding_backward(const EmbeddingBackward&) override;
  void matmul(const Matmul&) override;
  void matmul_grad_input(const MatmulGradInput&) override;
  void matmul_grad_weight(const MatmulGradWeight&) override;
  // Where a device may do them at once they are one operation, else their parts are two.
  void matmul_gelu(const MatmulGelu&) override;
  void matmul_gelu_grad_input(const MatmulGeluGradInput&) override;
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
  void adamw_all(std::span<const AdamW>) override;
  double sum_squares(View) override;
  double sum_squares_all(std::span<const View>) override;
  void chunk_squares(std::span<const View> list, View squares) override;
  double sum_chunks(std::span<const double> squares,
                    std::span<const int64_t> chunks) const override {
    return backend_.sum_chunks(squares, chunks);
  }
  bool keeps_numbers() const override { return backend_.keeps_numbers(); }
  void add_sum(View x, View sum) override;
  void step_numbers(const StepNumbers&) override;
  void fetch(View numbers) override { backend_.fetch(numbers); }
  View fetched() override { return backend_.fetched(); }

  void zero(View) override;
  void copy(View from, View to) override;
  void add(View from, View to) override;

 private:
  /// Makes the call, waits for the device, and records how long that took.
  template <class Call>
  void timed(const char* name, const OpWork& work, Call&& call);
  OpTotal& total_of(const char* name);

  Backend& backend_;
  Trace& trace_;
  std::vector<OpTotal> totals_;
  bool on_ = true;
};

}  // namespace isoflop
