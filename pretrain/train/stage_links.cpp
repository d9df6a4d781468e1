#include "pretrain/train/stage_links.hpp"

namespace isoflop {

namespace {

size_t message_bytes(int64_t tokens, int64_t width, DType dtype) {
  return Arena::aligned(static_cast<size_t>(tokens * width) * size_of(dtype));
}

}  // namespace

size_t StageLinks::bytes_for(int stage, int stages, int64_t tokens, int64_t width, DType dtype) {
  const int neighbours = (stage > 0) + (stage + 1 < stages);
  return static_cast<size_t>(neighbours) * 2 * kPipeBuffers * message_bytes(tokens, width, dtype);
}

StageLinks::StageLinks(std::unique_ptr<Communicator> stages,
                       std::unique_ptr<Communicator> wire,
                       Backend& backend,
                       int64_t tokens,
                       int64_t width,
                       DType dtype)
    : stages_(std::move(stages)), backend_(backend) {
  const int stage = stages_->rank();
  if (wire) {
    split(*wire);
  } else {
    for (Direction* direction : {&input_, &input_gradient_, &output_, &output_gradient_})
      direction->group = stages_.get();
    input_.peer = input_gradient_.peer = stage - 1;
    output_.peer = output_gradient_.peer = stage + 1;
  }
  if (stage == 0) input_.group = input_gradient_.group = nullptr;
  if (stage + 1 == stages_->size()) output_.group = output_gradient_.group = nullptr;
  buffer_ = backend.allocate(bytes_for(stage, stages_->size(), tokens, width, dtype),
                             "messages between pipeline stages");
  std::byte* at = buffer_.data();
  for (Direction* direction : {&input_, &input_gradient_, &output_, &output_gradient_}) {
    if (!direction->group) continue;
    for (Message& message : direction->ring) {
      message.storage = make_view(at, dtype, tokens, width);
      at += message_bytes(tokens, width, dtype);
    }
  }
}

/// Into pairs of neighbours: those whose first stage is even, then those whose first is odd.
void StageLinks::split(Communicator& wire) {
  const int stage = wire.rank();
  for (const int first : {0, 1}) {
    const bool comes_first = stage % 2 == first;
    for (const bool forward : {true, false}) {
      links_.push_back(wire.split((stage + first) / 2, stage));
      Direction& direction = comes_first ? (forward ? output_ : output_gradient_)
                                         : (forward ? input_ : input_gradient_);
      direction.group = links_.back().get();
      direction.peer = comes_first ? 1 : 0;
    }
  }
}

void StageLinks::receive(Direction& from, int64_t tokens) {
  ISOFLOP_CHECK(from.group && from.started - from.taken < from.ring.size(),
                "more messages are awaited than there is memory for");
  Message& message = from.next();
  message.view = message.storage.slice(0, tokens);
  const isoflop::Message in[] = {{from.peer, message.view.data, message.view.bytes()}};
  message.ticket = from.group->start_exchange({}, in);
}

View StageLinks::take(Direction& from) {
  if (!from.group) return {};
  ISOFLOP_CHECK(from.taken < from.started, "stage {} awaits nothing", stage());
  Message& message = from.ring[from.taken++ % from.ring.size()];
  from.group->wait(message.ticket);
  return message.view;
}

void StageLinks::send(Direction& to, View what) {
  ISOFLOP_CHECK(to.group, "stage {} has nobody to send to", stage());
  Message& message = to.next();
  to.group->wait(message.ticket);
  message.view = message.storage.slice(0, what.rows);
  backend_.copy(what, message.view);
  const isoflop::Message out[] = {{to.peer, message.view.data, message.view.bytes()}};
  message.ticket = to.group->start_exchange(out, {});
}

WireTotals StageLinks::wire_totals() const {
  WireTotals totals = stages_->wire_totals();
  for (const auto& link : links_) totals = totals + link->wire_totals();
  return totals;
}

double StageLinks::from_last(double value) {
  stages_->broadcast(&value, sizeof(value), stages() - 1);
  return value;
}

}  // namespace isoflop
