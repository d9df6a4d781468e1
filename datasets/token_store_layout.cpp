#include "datasets/token_store_layout.hpp"

#include "core/json.hpp"
#include "core/math.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>

namespace isoflop::token_store_layout {

static constexpr uint64_t kMagic = 0x0a31706f6c666f73;  // "soflop1\n" in the file

static uint64_t seal_hash(const MappedFile& file, const Seal& seal) {
  const uint64_t numbers[] = {seal.magic, seal.file_bytes, seal.tokens_offset, seal.tokens_bytes};
  const uint64_t tokens_end = seal.tokens_offset + seal.tokens_bytes;
  Hasher hasher;
  hasher.update(numbers, sizeof(numbers));
  hasher.update(file.data() + kSealBytes, seal.tokens_offset - kSealBytes);
  hasher.update(file.data() + tokens_end, seal.file_bytes - tokens_end);
  return hasher.digest();
}

void write_seal(const std::filesystem::path& path, uint64_t tokens_offset, uint64_t tokens_bytes) {
  const MappedFile file(path);
  Seal seal{kMagic, file.size(), tokens_offset, tokens_bytes, 0};
  seal.hash = seal_hash(file, seal);
  std::fstream out(path, std::ios::binary | std::ios::in | std::ios::out);
  out.write(reinterpret_cast<const char*>(&seal), sizeof(seal));
  out.close();
  if (!out) fail_io("cannot write {}", path.string());
}

Seal check_seal(const MappedFile& file, const std::string& name) {
  Seal seal;
  if (file.size() >= sizeof(seal)) std::memcpy(&seal, file.data(), sizeof(seal));
  if (seal.magic != kMagic)
    fail_format("{} is not a token store; make one with `isoflop data build`", name);
  if (seal.file_bytes != file.size())
    fail_format("{} has {} bytes but was made with {}: it was cut off; copy it or build it again",
                name, file.size(), seal.file_bytes);
  uint64_t tokens_end = 0;
  // The library takes the first superblock it finds at byte 512, 1024 or 2048, so the rest of the
  // seal's block must be empty.
  const auto is_zero = [](std::byte b) { return b == std::byte{0}; };
  if (file.size() < kSealBytes ||
      !std::all_of(file.data() + sizeof(seal), file.data() + kSealBytes, is_zero) ||
      seal.tokens_offset < kSealBytes ||
      !checked_add(seal.tokens_offset, seal.tokens_bytes, tokens_end) || tokens_end > file.size() ||
      seal.hash != seal_hash(file, seal))
    fail_format("{} is damaged (outside of its tokens); copy it or build it again", name);
  return seal;
}

std::string sources_to_json(const std::vector<TokenSource>& sources) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const TokenSource& source : sources)
    list.push_back(
        {{"path", source.path}, {"bytes", source.bytes}, {"xxh3", hash_hex(source.hash)}});
  // File names need not be UTF-8; what is not is replaced.
  return list.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::vector<TokenSource> sources_from_json(const std::string& text, const std::string& file) {
  const auto list = parse_json<nlohmann::json>(text, file);
  std::vector<TokenSource> sources;
  try {
    for (const auto& item : list) {
      if (!item.at("bytes").is_number_unsigned()) fail_format("bytes is not a whole number");
      TokenSource source{item.at("path").get<std::string>(), item.at("bytes").get<uint64_t>(), 0};
      source.hash = std::stoull(item.at("xxh3").get<std::string>(), nullptr, 16);
      sources.push_back(std::move(source));
    }
  } catch (const std::exception& e) {
    fail_format("{}: {} is not a list of {{path, bytes, xxh3}}: {}", file, kSources, e.what());
  }
  return sources;
}

}  // namespace isoflop::token_store_layout
