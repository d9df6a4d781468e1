#include "pretrain/train/profiling_backend.hpp"

#include <cstring>

namespace isoflop {

namespace {

OpWork passes(const View& view, int count) {
  return {0, count * static_cast<double>(view.bytes())};
}

}  // namespace

OpTotal& ProfilingBackend::total_of(const char* name) {
  for (OpTotal& total : totals_)
    if (std::strcmp(total.name, name) == 0) return total;
  return totals_.emplace_back(OpTotal{name, 0, 0, {}});
}

template <class Call>
void ProfilingBackend::timed(const char* name, const OpWork& work, Call&& call) {
  if (!on_) return call();
  const double start = trace_.now();
  call();
  backend_.synchronize();
  const double end = trace_.now();
  trace_.add(Trace::Row::operations, name, start, end);
  OpTotal& total = total_of(name);
  ++total.calls;
  total.seconds += end - start;
  total.work += work;
}

void ProfilingBackend::embedding_forward(const EmbeddingForward& args) {
  timed("embedding_forward", work_of(args), [&] { backend_.embedding_forward(args); });
}
void ProfilingBackend::cross_entropy(const CrossEntropy& args) {
  timed("cross_entropy", work_of(args), [&] { backend_.cross_entropy(args); });
}
void ProfilingBackend::embedding_backward(const EmbeddingBackward& args) {
  timed("embedding_backward", work_of(args), [&] { backend_.embedding_backward(args); });
}
void ProfilingBackend::matmul(const Matmul& args) {
  timed("matmul", work_of(args), [&] { backend_.matmul(args); });
}
void ProfilingBackend::matmul_grad_input(const MatmulGradInput& args) {
  timed("matmul_grad_input", work_of(args), [&] { backend_.matmul_grad_input(args); });
}
void ProfilingBackend::matmul_grad_weight(const MatmulGradWeight& args) {
  timed("matmul_grad_weight", work_of(args), [&] { backend_.matmul_grad_weight(args); });
}
void ProfilingBackend::matmul_gelu(const MatmulGelu& args) {
  if (in_host_memory()) return Backend::matmul_gelu(args);
  timed("matmul_gelu", work_of(args), [&] { backend_.matmul_gelu(args); });
}
void ProfilingBackend::matmul_gelu_grad_input(const MatmulGeluGradInput& args) {
  if (in_host_memory()) return Backend::matmul_gelu_grad_input(args);
  timed("matmul_gelu_grad_input", work_of(args), [&] { backend_.matmul_gelu_grad_input(args); });
}
void ProfilingBackend::layernorm_forward(const LayerNormForward& args) {
  timed("layernorm_forward", work_of(args), [&] { backend_.layernorm_forward(args); });
}
void ProfilingBackend::layernorm_backward(const LayerNormBackward& args) {
  timed("layernorm_backward", work_of(args), [&] { backend_.layernorm_backward(args); });
}
void ProfilingBackend::rmsnorm_forward(const RmsNormForward& args) {
  timed("rmsnorm_forward", work_of(args), [&] { backend_.rmsnorm_forward(args); });
}
void ProfilingBackend::rmsnorm_backward(const RmsNormBackward& args) {
  timed("rmsnorm_backward", work_of(args), [&] { backend_.rmsnorm_backward(args); });
}
void ProfilingBackend::rope(const Rope& args) {
  timed("rope", work_of(args), [&] { backend_.rope(args); });
}
void ProfilingBackend::attention_forward(const AttentionForward& args) {
  timed("attention_forward", work_of(args), [&] { backend_.attention_forward(args); });
}
void ProfilingBackend::attention_backward(const AttentionBackward& args) {
  timed("attention_backward", work_of(args), [&] { backend_.attention_backward(args); });
}
void ProfilingBackend::gelu_forward(const GeluForward& args) {
  timed("gelu_forward", work_of(args), [&] { backend_.gelu_forward(args); });
}
void ProfilingBackend::gelu_backward(const GeluBackward& args) {
  timed("gelu_backward", work_of(args), [&] { backend_.gelu_backward(args); });
}
void ProfilingBackend::swiglu_forward(const SwigluForward& args) {
  timed("swiglu_forward", work_of(args), [&] { backend_.swiglu_forward(args); });
}
void ProfilingBackend::swiglu_backward(const SwigluBackward& args) {
  timed("swiglu_backward", work_of(args), [&] { backend_.swiglu_backward(args); });
}
void ProfilingBackend::adamw(const AdamW& args) {
  timed("adamw", work_of(args), [&] { backend_.adamw(args); });
}
void ProfilingBackend::round_to_blocks(const BlockRounding& args) {
  timed("round_to_blocks", work_of(args), [&] { backend_.round_to_blocks(args); });
}
void ProfilingBackend::state_product(const StateProduct& args) {
  timed("state_product", work_of(args), [&] { backend_.state_product(args); });
}
void ProfilingBackend::weighted_sum(const WeightedSum& args) {
  timed("weighted_sum", work_of(args), [&] { backend_.weighted_sum(args); });
}
void ProfilingBackend::adamw_all(std::span<const AdamW> list) {
  OpWork work;
  for (const AdamW& one : list) work += work_of(one);
  timed("adamw", work, [&] { backend_.adamw_all(list); });
}
void ProfilingBackend::softcap(const SoftCap& args) {
  timed("softcap", work_of(args), [&] { backend_.softcap(args); });
}
void ProfilingBackend::refresh(WeightRef weight) {
  timed("refresh", {}, [&] { backend_.refresh(weight); });
}
double ProfilingBackend::sum_squares(View view) {
  double sum = 0;
  timed("sum_squares", passes(view, 1), [&] { sum = backend_.sum_squares(view); });
  return sum;
}
double ProfilingBackend::sum_squares_all(std::span<const View> list) {
  double sum = 0;
  OpWork work;
  for (const View& one : list) work += passes(one, 1);
  timed("sum_squares", work, [&] { sum = backend_.sum_squares_all(list); });
  return sum;
}
void ProfilingBackend::chunk_squares(std::span<const View> list, View squares) {
  OpWork work;
  for (const View& one : list) work += passes(one, 1);
  timed("sum_squares", work, [&] { backend_.chunk_squares(list, squares); });
}
void ProfilingBackend::add_sum(View x, View sum) {
  timed("add_sum", passes(x, 1), [&] { backend_.add_sum(x, sum); });
}
void ProfilingBackend::step_numbers(const StepNumbers& args) {
  OpWork work;
  for (const View& one : args.gradients) work += passes(one, 1);
  timed("step_numbers", work, [&] { backend_.step_numbers(args); });
}
void ProfilingBackend::zero(View view) {
  timed("zero", passes(view, 1), [&] { backend_.zero(view); });
}
void ProfilingBackend::copy(View from, View to) {
  timed("copy", passes(to, 2), [&] { backend_.copy(from, to); });
}
void ProfilingBackend::add(View from, View to) {
  timed("add", passes(to, 3), [&] { backend_.add(from, to); });
}

}  // namespace isoflop
