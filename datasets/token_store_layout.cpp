#include "datasets/token_store_layout.hpp"

#include "core/error.hpp"

#include <nlohmann/json.hpp>

namespace isoflop::token_store_layout {

uint64_t metadata_hash(const TokenStoreInfo& info,
                       const std::string& sources,
                       std::span<const uint64_t> offsets,
                       std::span<const uint64_t> hashes) {
  Hasher hasher;
  const uint64_t numbers[] = {kVersion,
                              info.tokens,
                              info.documents,
                              info.text_bytes,
                              info.tokenizer_hash,
                              static_cast<uint64_t>(info.vocabulary),
                              static_cast<uint64_t>(int64_t{info.separator}),
                              static_cast<uint64_t>(info.token_bytes)};
  hasher.update(numbers, sizeof(numbers));
  hasher.update(offsets.data(), offsets.size_bytes());
  hasher.update(hashes.data(), hashes.size_bytes());
  hasher.update(sources.data(), sources.size());
  return hasher.digest();
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
  std::vector<TokenSource> sources;
  try {
    for (const auto& item : nlohmann::json::parse(text)) {
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
