// The texts of a checkpoint: manifest.json and state.json. Both are taken as manifest (with its
// hash made right first, so that what lies behind it is reached) and as state.
#include "core/error.hpp"
#include "core/hash.hpp"
#include "pretrain/checkpoint/manifest.hpp"
#include "pretrain/checkpoint/train_state.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <nlohmann/json.hpp>

namespace isoflop::fuzz {

std::vector<std::string> seeds() {
  TrainState state;
  state.step = 10;
  state.add_loss(2.5);
  state.guard.skipped = {3};
  state.kernel_plan = "{}";
  return {train_state_json(state),
          R"({"manifest": {"format": "isoflop checkpoint", "version": 1, "step": 10, "sequence": 2,
 "ranks": 1, "files": [{"name": "rank-0000.h5", "bytes": 13624, "xxh3": "b1946ac92492d234"},
 {"name": "state.json", "bytes": 1, "xxh3": "0000000000000000"}]}, "xxh3": "0000000000000000"})"};
}

/// The manifest with the hash that its body has, or the text itself when it is none.
static std::string with_right_hash(const std::string& text) {
  auto whole = nlohmann::ordered_json::parse(text, nullptr, false);
  if (!whole.is_object() || !whole.contains("manifest")) return text;
  const std::string body =
      whole["manifest"].dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  whole["xxh3"] = hash_hex(hash_text(body));
  return whole.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace isoflop::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace isoflop;
  const std::string text(fuzz::text_of(data, size));
  try {
    parse_manifest(fuzz::with_right_hash(text), "fuzz");
  } catch (const Error&) {
  }
  try {
    const TrainState state = parse_train_state(text, "fuzz");
    parse_train_state(train_state_json(state), "its own text");
  } catch (const Error&) {
  }
  return 0;
}
