// Token store: one HDF5 file of token ids that any HDF5 reader opens, and that we map.
//
// Layout (docs/formats.md): /tokens, 1-D, u16 or u32, contiguous, uncompressed; /document_offsets,
// u64, documents+1 entries; /token_hashes, an xxh3 per MiB of tokens; /sources, JSON; attributes
// with format version, tokenizer hash, vocabulary, separator id and bytes of text; before all this
// 4 KB with a hash of everything but the tokens. Documents are followed by the separator, which
// belongs to them.
#pragma once
#include "core/file.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace isoflop {

struct TokenSource {
  std::string path;
  uint64_t bytes = 0;
  uint64_t hash = 0;
};

struct TokenStoreInfo {
  uint64_t tokens = 0;
  uint64_t documents = 0;
  uint64_t text_bytes = 0;  // of the documents, separators not counted
  uint64_t tokenizer_hash = 0;
  int vocabulary = 0;
  int separator = -1;
  int token_bytes = 2;  // 2 or 4
  std::vector<TokenSource> sources;
};

class TokenStore {
 public:
  /// Opens and maps; FormatError names file and field when something is off. `verify` reads all
  /// tokens and compares the block hashes.
  static std::shared_ptr<const TokenStore> open(const std::filesystem::path& path,
                                                bool verify = false);
  /// By the first bytes or the ending, so that a damaged store is reported and not taken for text.
  static bool looks_like_store(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const TokenStoreInfo& info() const { return info_; }
  uint64_t tokens() const { return info_.tokens; }
  /// Widens tokens [first, first + out.size()) into `out`. Allocates nothing. FormatError when one
  /// is outside the vocabulary.
  void read(uint64_t first, std::span<int32_t> out) const;
  /// First token of document i (i <= documents; the last entry is tokens()).
  uint64_t document_offset(uint64_t document) const { return offsets_[document]; }

 private:
  TokenStore() = default;
  void verify(std::span<const uint64_t> hashes, uint64_t file_offset) const;

  std::filesystem::path path_;
  TokenStoreInfo info_;
  MappedFile file_;
  const std::byte* tokens_ = nullptr;
  std::vector<uint64_t> offsets_;
};

/// Streams tokens into a new store; nothing counts until finish() has renamed it into place.
/// Memory: a MiB or two, and 8 bytes per document. IoError when the disk is full or the folder
/// missing.
class TokenStoreWriter {
 public:
  TokenStoreWriter(const std::filesystem::path& path,
                   int vocabulary,
                   int separator,
                   uint64_t tokenizer_hash);
  ~TokenStoreWriter();  // without finish(): nothing is left behind
  /// One document's tokens without separator (appended here), and the bytes of text they came from.
  void add_document(std::span<const int32_t> tokens, uint64_t text_bytes);
  /// The same piece by piece: any number of append(), then end_document().
  void append(std::span<const int32_t> tokens);
  void end_document(uint64_t text_bytes);
  void add_source(const TokenSource& source);
  TokenStoreInfo finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace isoflop
