// Token store: token ids in a file that we map. Ours is one HDF5 file that any HDF5 reader opens;
// the files of two other programs are read where they lie (foreign_tokens.hpp).
//
// Layout of ours (docs/formats/token-store.md): /tokens, 1-D, u16 or u32, contiguous, uncompressed;
// /document_offsets, u64, documents+1 entries; /token_hashes, an xxh3 per MiB of tokens; /sources,
// JSON; attributes with format version, tokenizer hash, vocabulary, separator id and bytes of text;
// before all this 4 KB with a hash of everything but the tokens. Documents are followed by the
// separator, which belongs to them.
#pragma once
#include "core/file.hpp"
#include "datasets/tokenizer.hpp"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace isoflop {

struct TokenSource {
  std::string path;
  uint64_t bytes = 0;
  uint64_t hash = 0;
};

enum class TokenFormat { ours, llmc, megatron };
std::string_view name_of(TokenFormat format);

struct TokenStoreInfo {
  TokenFormat format = TokenFormat::ours;
  uint64_t tokens = 0;
  uint64_t documents = 0;   // 0: the file does not say where they are
  uint64_t text_bytes = 0;  // of the documents, separators not counted; 0: the file does not say
  uint64_t tokenizer_hash = 0;  // 0: the file does not say
  int vocabulary = 0;
  int separator = -1;
  int token_bytes = 2;      // 2, 4 or (megatron) 8
  uint64_t row_tokens = 0;  // not 0: rows of this many tokens, which no window crosses
  uint64_t fingerprint =
      0;  // of the content: differs when it does (foreign files: of samples of it)
  std::vector<TokenSource> sources;
};

/// What a reader of a format finds; the tokens lie within the mapping.
struct MappedTokens {
  std::filesystem::path path;
  TokenStoreInfo info;
  MappedFile file;
  const std::byte* tokens = nullptr;
  std::vector<uint64_t> offsets;  // of the documents, the end included; empty where not known
};

class TokenStore {
 public:
  /// Opens and maps; FormatError names file and field when something is off. `verify` reads all
  /// tokens and compares the block hashes. A foreign file does not say which tokenizer it was made
  /// with: it is taken to be `tokenizer`; without one the vocabulary is the largest its format
  /// allows, the tokenizer hash 0.
  static std::shared_ptr<const TokenStore> open(const std::filesystem::path& path,
                                                bool verify = false,
                                                const Tokenizer* tokenizer = nullptr);
  /// By the first bytes or the ending, so that a damaged store is reported and not taken for text.
  static bool looks_like_store(const std::filesystem::path& path);
  explicit TokenStore(MappedTokens mapped) : mapped_(std::move(mapped)) {}

  const std::filesystem::path& path() const { return mapped_.path; }
  const TokenStoreInfo& info() const { return mapped_.info; }
  uint64_t tokens() const { return mapped_.info.tokens; }
  /// Widens tokens [first, first + out.size()) into `out`. Allocates nothing. FormatError naming
  /// the place when one is outside the vocabulary.
  void read(uint64_t first, std::span<int32_t> out) const;
  /// Reads all tokens once, for what read() would refuse.
  void check_ids() const;
  /// First token of document i (i <= documents; the last entry is tokens()). Where
  /// info().documents is 0: ask token_documents.hpp.
  uint64_t document_offset(uint64_t document) const { return mapped_.offsets[document]; }

  /// Windows of context + 1 tokens at stride context, none across the border of a row.
  uint64_t windows(int64_t context) const;
  uint64_t window_start(uint64_t window, int64_t context) const;

 private:
  void verify(std::span<const uint64_t> hashes) const;

  MappedTokens mapped_;
};

/// The stores that a word of the user names: a path, or a glob of them in byte order.
std::vector<std::filesystem::path> find_stores(const std::string& word);

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
  /// Documents are rows of this many tokens, which no separator follows; before the first.
  void set_row_tokens(uint64_t tokens);
  TokenStoreInfo finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace isoflop
