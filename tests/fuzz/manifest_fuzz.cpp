// A checkpoint's manifest.json: as it is, and with the hash of its body made right, so that what
// lies behind the hash is reached. It lies in a folder with one of the files it lists.
#include "core/error.hpp"
#include "core/hash.hpp"
#include "pretrain/checkpoint/manifest.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/support/temp_dir.hpp"

#include <nlohmann/json.hpp>

#include <fstream>

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

constexpr std::string_view kShard = "what rank 0 wrote";

std::string manifest(int version, const std::string& files) {
  return with_right_hash(fmt::format(
      R"({{"manifest": {{"format": "isoflop checkpoint", "version": {}, "step": 10, "sequence": 2,
 "ranks": 1, "files": [{}]}}, "xxh3": ""}})",
      version, files));
}
std::string listed(std::string_view name, size_t bytes, uint64_t hash) {
  return fmt::format(R"({{"name": "{}", "bytes": {}, "xxh3": "{}"}})", name, bytes, hash_hex(hash));
}
std::string shard() {
  return listed("rank-0000.h5", kShard.size(), hash_text(kShard));
}

std::vector<std::string> seeds() {
  return {manifest(1, shard())};
}

std::vector<std::string> refused() {
  return {"",
          manifest(2, shard()),
          manifest(1, ""),
          manifest(1, shard() + ", " + shard()),
          manifest(1, shard() + ", " + listed("../state.json", 1, 0)),
          manifest(1, shard() + ", " + listed("state.json", 1, 0)),
          manifest(1, listed("rank-0000.h5", kShard.size() - 1, hash_text(kShard))),
          manifest(1, listed("rank-0000.h5", kShard.size(), 0))};
}

void run(std::string_view bytes) {
  static const test::TempDir folder;
  static const fs::path path = folder.path() / "fuzz";
  fs::create_directories(path);
  const auto write = [](const fs::path& file, std::string_view text) {
    std::ofstream(file, std::ios::binary) << text;
  };
  write(path / "rank-0000.h5", kShard);
  write(path / kManifestName, with_right_hash(bytes));
  const Manifest read = read_manifest(path);
  write_manifest(path, read);
  const Manifest again = read_manifest(path);
  if (again.files.size() != read.files.size() || again.step != read.step)
    found("a manifest that does not read back the same");
  verify_files(path, read);
  parse_manifest(std::string(bytes), "fuzz");
}

const Registered target({"manifest", seeds, run, {"pretrain/checkpoint/manifest.cpp"}, refused});

}  // namespace
}  // namespace isoflop::fuzz
