// Names and hashes inside a token store file, shared by its reader and its writer
// (docs/formats/token-store.md).
#pragma once
#include "core/hash.hpp"
#include "datasets/token_store.hpp"

#include <cstdint>
#include <filesystem>
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
inline constexpr char kRowAttribute[] = "row_tokens";  // absent where there are no rows

inline uint64_t block_count(const TokenStoreInfo& info) {
  const uint64_t bytes = info.tokens * static_cast<uint64_t>(info.token_bytes);
  return bytes / kBlockBytes + (bytes % kBlockBytes != 0);
}

/// Stands in the first bytes of the file, before the HDF5 part. It says where the tokens lie and
/// holds a hash of all other bytes, so damage is noticed before the library sees it: the library is
/// not safe against it. Block hashes cover the tokens.
struct Seal {
  uint64_t magic = 0;
  uint64_t file_bytes = 0;
  uint64_t tokens_offset = 0;
  uint64_t tokens_bytes = 0;
  uint64_t hash = 0;  // of the numbers above, then of all bytes behind kSealBytes but the tokens
};
inline constexpr uint64_t kSealBytes = 4096;

/// Seals a finished file; IoError when it cannot be written.
void write_seal(const std::filesystem::path& path, uint64_t tokens_offset, uint64_t tokens_bytes);
/// FormatError when the file has no seal, is not as long as it was, or differs outside of the
/// tokens.
Seal check_seal(const MappedFile& file, const std::string& name);

std::string sources_to_json(const std::vector<TokenSource>& sources);
std::vector<TokenSource> sources_from_json(const std::string& text, const std::string& file);

}  // namespace isoflop::token_store_layout
