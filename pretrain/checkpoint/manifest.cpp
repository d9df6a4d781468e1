#include "pretrain/checkpoint/manifest.hpp"

#include "core/hash.hpp"
#include "pretrain/checkpoint/json_fields.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <set>

namespace isoflop {

namespace {

constexpr uint64_t kVersion = 1;
constexpr const char* kFormat = "isoflop checkpoint";
constexpr uint64_t kMaxManifestBytes = 64 << 20;  // far beyond 100,000 ranks
constexpr uint64_t kMaxFiles = 1'000'000;

uint64_t parse_hash(const std::string& text, const std::string& file) {
  uint64_t hash = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), hash, 16);
  if (text.size() != 16 || error != std::errc() || end != text.data() + text.size())
    fail_format("{}: '{}' is not a hash of 16 hexadecimal digits", file, text);
  return hash;
}

/// A file of the folder itself, never a way out of it.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string("/\0", 2)) == name.npos;
}

}  // namespace

std::string shard_name(int64_t rank) {
  return fmt::format("rank-{:04d}.h5", rank);
}

ManifestFile measure_file(const fs::path& folder, const std::string& name) {
  const fs::path path = folder / name;
  std::error_code error;
  std::ifstream in;
  if (fs::is_regular_file(path, error)) in.open(path, std::ios::binary);  // never a pipe or device
  if (!in.is_open()) fail_user("cannot read {}", path.string());
  ManifestFile file = {name, 0, 0};
  Hasher hasher;
  std::vector<char> chunk(1 << 20);
  while (in) {
    in.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    const auto got = static_cast<size_t>(in.gcount());
    hasher.update(chunk.data(), got);
    file.bytes += got;
  }
  if (in.bad()) fail_user("cannot read {} beyond byte {}", path.string(), file.bytes);
  file.hash = hasher.digest();
  return file;
}

void write_manifest(const fs::path& folder, const Manifest& manifest) {
  nlohmann::ordered_json body = {
      {"format", kFormat},       {"version", kVersion},
      {"step", manifest.step},   {"sequence", manifest.sequence},
      {"ranks", manifest.ranks}, {"files", nlohmann::ordered_json::array()}};
  for (const ManifestFile& file : manifest.files)
    body["files"].push_back(
        {{"name", file.name}, {"bytes", file.bytes}, {"xxh3", hash_hex(file.hash)}});
  const nlohmann::ordered_json whole = {{"manifest", body},
                                        {"xxh3", hash_hex(hash_text(body.dump()))}};
  write_file_atomically(folder / kManifestName, whole.dump(2) + "\n");
}

Manifest read_manifest(const fs::path& folder) {
  const fs::path path = folder / kManifestName;
  const std::string file = path.string();
  std::error_code error;
  const uint64_t bytes = fs::is_regular_file(path, error) ? fs::file_size(path, error) : 0;
  if (error || bytes == 0)
    fail_format("{} is missing or empty: the checkpoint was never completed", file);
  if (bytes > kMaxManifestBytes)
    fail_format("{}: {} bytes are too many for a manifest", file, bytes);

  return parse_manifest(read_file(path), file);
}

Manifest parse_manifest(const std::string& text, const std::string& file) {
  namespace j = json_fields;
  const nlohmann::ordered_json whole = j::parse_object(text, file);
  const nlohmann::ordered_json& body = j::member(whole, "manifest", file);
  const uint64_t expected = parse_hash(j::text(whole, "xxh3", file), file);
  // Strings that are not UTF-8 make dump() throw; we never write any.
  const std::string canonical =
      body.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  if (hash_text(canonical) != expected)
    fail_format("{}: its content was changed (xxh3 differs)", file);
  if (j::text(body, "format", file) != kFormat) fail_format("{}: 'format' is not ours", file);
  const uint64_t version = j::natural(body, "version", file);
  if (version > kVersion)
    fail_format("{}: version {} is newer than this program reads ({}); use a newer isoflop", file,
                version, kVersion);

  Manifest manifest;
  manifest.step = static_cast<int64_t>(j::natural(body, "step", file));
  manifest.sequence = static_cast<int64_t>(j::natural(body, "sequence", file));
  manifest.ranks = static_cast<int64_t>(j::natural(body, "ranks", file, kMaxFiles));
  std::set<std::string> names;
  for (const auto& entry : j::array(body, "files", file, kMaxFiles)) {
    ManifestFile listed = {j::text(entry, "name", file), j::natural(entry, "bytes", file),
                           parse_hash(j::text(entry, "xxh3", file), file)};
    if (!is_plain_name(listed.name)) fail_format("{}: '{}' is not a file name", file, listed.name);
    if (!names.insert(listed.name).second)
      fail_format("{}: '{}' is listed twice", file, listed.name);
    manifest.files.push_back(std::move(listed));
  }
  for (int64_t rank = 0; rank < manifest.ranks; ++rank)
    if (!names.count(shard_name(rank))) fail_format("{}: {} is not listed", file, shard_name(rank));
  return manifest;
}

void verify_files(const fs::path& folder, const Manifest& manifest) {
  for (const ManifestFile& listed : manifest.files) {
    const fs::path path = folder / listed.name;
    std::error_code error;
    const uint64_t bytes = fs::file_size(path, error);
    if (error) fail_format("{} is missing", path.string());
    if (bytes != listed.bytes)
      fail_format("{} has {} bytes, its manifest says {}: cut off or overwritten", path.string(),
                  bytes, listed.bytes);
    if (measure_file(folder, listed.name).hash != listed.hash)
      fail_format("{}: its content was changed (xxh3 differs from the manifest's)", path.string());
  }
}

}  // namespace isoflop
