#include "pretrain/train/gradient_tree.hpp"

#include <bit>

namespace isoflop {

int64_t GradientTree::buffers_for(int64_t slots) {
  return static_cast<int64_t>(std::bit_width(static_cast<uint64_t>(slots)));
}

GradientTree::GradientTree(const ParamTable& table, Backend& backend, int64_t slots)
    : backend_(backend) {
  for (int64_t i = 0; i < buffers_for(slots); ++i)
    buffers_.emplace_back(table, backend.state_dtype(), "gradients");
}

ParamBuffer& GradientTree::open() {
  ParamBuffer& buffer = buffers_[static_cast<size_t>(++top_)];
  backend_.zero(buffer.flat());
  return buffer;
}

void GradientTree::merge_top() {
  const size_t top = static_cast<size_t>(top_--);
  backend_.add(buffers_[top].flat(), buffers_[top - 1].flat());
}

void GradientTree::close() {
  for (int64_t count = ++closed_; count % 2 == 0; count /= 2) merge_top();
}

ParamBuffer& GradientTree::finish() {
  ISOFLOP_CHECK(closed_ > 0, "no slot was closed");
  while (top_ > 0) merge_top();
  top_ = -1;
  closed_ = 0;
  return buffers_[0];
}

size_t GradientTree::bytes() const {
  size_t sum = 0;
  for (const ParamBuffer& buffer : buffers_) sum += buffer.bytes();
  return sum;
}

double tree_sum(std::span<const double> values) {
  if (values.empty()) return 0;
  if (values.size() == 1) return values[0];
  const size_t half = std::bit_floor(values.size() - 1);
  return tree_sum(values.first(half)) + tree_sum(values.subspan(half));
}

}  // namespace isoflop
