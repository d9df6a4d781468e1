// Names and hashes inside a token store file, shared by its reader and its writer
// (docs/formats.md).
#pragma once
#include "core/hash.hpp"
#include "datasets/token_store.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace isoflop::token_store_layout {

inline constexpr uint64_t kVersion = 1;
inline constexpr uint64_t kBlockBytes = 1 << 20;  // of tokens under one hash

inline constexpr char kTokens[] = "/tokens";
inline constexpr char kOffsets[] = "/document_offsets";
inline constexpr char kHashes[] = "/token_hashes";
inline constexpr char kSources[] = "/sources";

inline constexpr char kVersionAttribute[] = "format_version";
inline constexpr char kVocabularyAttribute[] = "vocabulary";
inline constexpr char kSeparatorAttribute[] = "separator";
inline constexpr char kTokenizerAttribute[] = "tokenizer_hash";
inline constexpr char kTextBytesAttribute[] = "text_bytes";
inline constexpr char kMetadataHashAttribute[] = "metadata_hash";

inline uint64_t block_count(const TokenStoreInfo& info) {
  const uint64_t bytes = info.tokens * static_cast<uint64_t>(info.token_bytes);
  return bytes / kBlockBytes + (bytes % kBlockBytes != 0);
}

/// Covers everything but the tokens, which the block hashes cover.
uint64_t metadata_hash(const TokenStoreInfo& info,
                       const std::string& sources,
                       std::span<const uint64_t> offsets,
                       std::span<const uint64_t> hashes);

std::string sources_to_json(const std::vector<TokenSource>& sources);
std::vector<TokenSource> sources_from_json(const std::string& text, const std::string& file);

}  // namespace isoflop::token_store_layout
