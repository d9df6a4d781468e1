// StageLinks: a pipeline stage's messages with its two neighbours. Activations come from the stage
// before and go to the one behind, gradients the other way. Receives are started ahead and waited
// for by whoever computes with them; a send returns at once and is waited for when its memory is
// used again, kPipeBuffers messages later. All memory is the backend's, taken in the constructor.
//
// In a device's memory every link has a group for each direction: messages of such a group go one
// after another, and one that is awaited must not hold up another that somebody waits for.
#pragma once
#include "ops/backend.hpp"
#include "parallel/communicator.hpp"
#include "parallel/pipeline.hpp"

#include <array>
#include <memory>
#include <vector>

namespace isoflop {

class StageLinks {
 public:
  /// `stages`: the group of the pipeline's ranks, in order; `wire`: the same one for messages in
  /// the backend's memory, null where that is the host's. Messages are of up to `tokens` rows of
  /// `width` elements. Collective.
  StageLinks(std::unique_ptr<Communicator> stages,
             std::unique_ptr<Communicator> wire,
             Backend& backend,
             int64_t tokens,
             int64_t width,
             DType dtype);

  int stage() const { return stages_->rank(); }
  int stages() const { return stages_->size(); }

  void receive_input(int64_t tokens) { receive(input_, tokens); }
  void receive_gradient(int64_t tokens) { receive(output_gradient_, tokens); }
  /// The oldest one that was not taken yet, once it has arrived; valid until kPipeBuffers more are
  /// received. Absent at the end of the pipeline.
  View take_input() { return take(input_); }
  View take_gradient() { return take(output_gradient_); }
  /// Copies.
  void send_output(View output) { send(output_, output); }
  void send_gradient(View gradient) { send(input_gradient_, gradient); }

  /// What the last stage knows, at every stage. Collective.
  double from_last(double value);

  WireTotals wire_totals() const;
  static size_t bytes_for(int stage, int stages, int64_t tokens, int64_t width, DType dtype);

 private:
  struct Message {
    View storage, view;
    Communicator::Ticket ticket = 0;
  };
  struct Direction {
    Communicator* group = nullptr;  // none at the end of the pipeline
    int peer = 0;                   // in it
    std::array<Message, kPipeBuffers> ring;
    size_t started = 0, taken = 0;

    Message& next() { return ring[started++ % ring.size()]; }
  };

  void split(Communicator& wire);
  void receive(Direction& from, int64_t tokens);
  View take(Direction& from);
  void send(Direction& to, View what);

  std::unique_ptr<Communicator> stages_;
  std::vector<std::unique_ptr<Communicator>> links_;  // of a device
  Backend& backend_;
  Buffer buffer_;
  Direction input_, output_, input_gradient_, output_gradient_;
};

}  // namespace isoflop
