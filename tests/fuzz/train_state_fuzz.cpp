// A checkpoint's state.json.
#include "pretrain/checkpoint/train_state.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace isoflop::fuzz {
namespace {

std::vector<std::string> seeds() {
  TrainState state;
  state.step = 10;
  state.add_loss(2.5);
  state.guard.seen = {{9, 2.5, 0.7}};
  state.guard.skipped = {3};
  state.kernel_plan = "{}";
  return {train_state_json(state)};
}

void run(std::string_view bytes) {
  TrainState state = parse_train_state(std::string(bytes), "fuzz");
  state.mean_recent_loss();
  state.add_loss(1);
  parse_train_state(train_state_json(state), "what we wrote");
}

const Registered target({"train_state", seeds, run, {"pretrain/checkpoint/train_state.cpp"}});

}  // namespace
}  // namespace isoflop::fuzz
