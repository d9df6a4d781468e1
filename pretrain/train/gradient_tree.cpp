#include "pretrain/train/gradient_tree.hpp"

#include "ops/host_copy.hpp"

namespace isoflop {

GradientTree::GradientTree(const ParamTable& table,
                           Backend& backend,
                           int64_t slots,
                           SlotRange mine,
                           const std::vector<bool>& holds)
    : backend_(backend), slots_(slots), mine_(mine) {
  for (int64_t i = 0; i < most_open_sums(slots, mine); ++i)
    buffers_.emplace_back(table, backend.state_dtype(), "gradients", holds, allocator_of(backend));
  open_.reserve(buffers_.size());
}

ParamBuffer& GradientTree::open() {
  const int64_t slot = open_.empty() ? mine_.first : open_.back().last;
  ISOFLOP_CHECK(slot < mine_.last, "slot {} is not ours", slot);
  ParamBuffer& buffer = buffers_[open_.size()];
  open_.push_back({slot, slot + 1});
  backend_.zero(buffer.flat());
  return buffer;
}

int64_t GradientTree::joins() const {
  int64_t joins = 0;
  for (size_t left = open_.size() - 1; left-- > 0; ++joins)
    if (!is_subtree(slots_, {open_[left].first, open_.back().last})) break;
  return joins;
}

void GradientTree::close_piece(int64_t first, int64_t count) {
  size_t top = open_.size() - 1;
  for (int64_t i = joins(); i > 0; --i, --top)
    backend_.add(buffers_[top].flat().columns(first, count),
                 buffers_[top - 1].flat().columns(first, count));
}

void GradientTree::pieces_closed() {
  for (int64_t i = joins(); i > 0; --i) {
    const int64_t last = open_.back().last;
    open_.pop_back();
    open_.back().last = last;
  }
}

ParamBuffer& GradientTree::finish() {
  ISOFLOP_CHECK(!open_.empty() && open_.back().last == mine_.last, "not all slots were closed");
  open_.clear();
  return buffers_[0];
}

size_t GradientTree::bytes() const {
  size_t sum = 0;
  for (const ParamBuffer& buffer : buffers_) sum += buffer.bytes();
  return sum;
}

}  // namespace isoflop
