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
                       Backend& backend,
                       int64_t tokens,
                       int64_t width,
                       DType dtype)
    : stages_(std::move(stages)), backend_(backend) {
  const int stage = stages_->rank(), before = stage - 1;
  const int behind = stage + 1 < stages_->size() ? stage + 1 : -1;
  buffer_ = allocate_host(bytes_for(stage, stages_->size(), tokens, width, dtype),
                          "messages between pipeline stages");
  std::byte* at = buffer_.data();
  const auto bind = [&](Direction& direction, int peer) {
    direction.peer = peer;
    if (peer < 0) return;
    for (Message& message : direction.ring) {
      message.storage = make_view(at, dtype, tokens, width);
      at += message_bytes(tokens, width, dtype);
    }
  };
  bind(input_, before);
  bind(input_gradient_, before);
  bind(output_, behind);
  bind(output_gradient_, behind);
}

void StageLinks::receive(Direction& from, int64_t tokens) {
  ISOFLOP_CHECK(from.peer >= 0 && from.started - from.taken < from.ring.size(),
                "more messages are awaited than there is memory for");
  Message& message = from.next();
  message.view = message.storage.slice(0, tokens);
  const isoflop::Message in[] = {{from.peer, message.view.data, message.view.bytes()}};
  message.ticket = stages_->start_exchange({}, in);
}

View StageLinks::take(Direction& from) {
  if (from.peer < 0) return {};
  ISOFLOP_CHECK(from.taken < from.started, "nothing is awaited from stage {}", from.peer);
  Message& message = from.ring[from.taken++ % from.ring.size()];
  stages_->wait(message.ticket);
  return message.view;
}

void StageLinks::send(Direction& to, View what) {
  ISOFLOP_CHECK(to.peer >= 0, "stage {} has nobody to send to", stage());
  Message& message = to.next();
  stages_->wait(message.ticket);
  message.view = message.storage.slice(0, what.rows);
  backend_.copy(what, message.view);
  backend_.synchronize();
  const isoflop::Message out[] = {{to.peer, message.view.data, message.view.bytes()}};
  message.ticket = stages_->start_exchange(out, {});
}

double StageLinks::from_last(double value) {
  stages_->broadcast(&value, sizeof(value), stages() - 1);
  return value;
}

}  // namespace isoflop
