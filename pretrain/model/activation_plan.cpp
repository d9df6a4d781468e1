#include "pretrain/model/activation_plan.hpp"

#include "core/error.hpp"

namespace isoflop {

Recompute parse_recompute(std::string_view name) {
  if (name == "none") return Recompute::none;
  if (name == "cheap") return Recompute::cheap;
  if (name == "ffn") return Recompute::ffn;
  if (name == "block") return Recompute::block;
  fail_user("compute.recompute = \"{}\": choose none, cheap, ffn or block", name);
}

size_t ActivationPlan::add(
    std::string name, int64_t rows, int64_t cols, DType dtype, int64_t copies) {
  rows_.push_back({std::move(name), rows, cols, dtype, copies, bytes_});
  bytes_ += rows_.back().bytes();
  return rows_.size() - 1;
}

void ActivationPlan::allocate(Backend& backend) {
  buffer_ = backend.allocate(bytes_, "activations");
}

View ActivationPlan::view(size_t row, int64_t copy) const {
  const Row& r = rows_[row];
  ISOFLOP_CHECK(buffer_.data() && copy < r.copies, "activation {} copy {} is not planned", r.name,
                copy);
  return make_view(buffer_.data() + r.offset + r.copy_bytes() * static_cast<size_t>(copy), r.dtype,
                   r.rows, r.cols);
}

}  // namespace isoflop
