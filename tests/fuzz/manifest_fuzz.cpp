// A checkpoint's manifest.json: as it is, and with the hash of its body made right, so that what
// lies behind the hash is reached.
#include "core/hash.hpp"
#include "pretrain/checkpoint/manifest.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <nlohmann/json.hpp>

namespace isoflop::fuzz {
namespace {

using nlohmann::ordered_json;

std::string text_of(const ordered_json& value) {
  return value.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::string with_right_hash(std::string_view text) {
  try {
    ordered_json whole = ordered_json::parse(text);
    if (!whole.is_object() || !whole.contains("manifest")) return std::string(text);
    whole["xxh3"] = hash_hex(hash_text(text_of(whole["manifest"])));
    return text_of(whole);
  } catch (const ordered_json::exception&) {
    return std::string(text);
  }
}

std::vector<std::string> seeds() {
  return {with_right_hash(
      R"({"manifest": {"format": "isoflop checkpoint", "version": 1, "step": 10, "sequence": 2,
 "ranks": 1, "files": [{"name": "rank-0000.h5", "bytes": 13624, "xxh3": "b1946ac92492d234"},
 {"name": "state.json", "bytes": 1, "xxh3": "0000000000000000"}]}, "xxh3": ""})")};
}

void run(std::string_view bytes) {
  parse_manifest(with_right_hash(bytes), "fuzz");
  parse_manifest(std::string(bytes), "fuzz");
}

const Registered target({"manifest", seeds, run, {"pretrain/checkpoint/manifest.cpp"}});

}  // namespace
}  // namespace isoflop::fuzz
