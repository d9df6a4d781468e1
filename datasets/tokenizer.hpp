// Tokenizer: text to ids and back. decode(encode(x)) == x for any bytes; a tokenizer of characters
// refuses text with a character that it does not have (UserError naming it and its offset). Const
// functions may be called from several threads at once.
//
// One class over three vocabularies: the 256 bytes, the characters (code points) of a corpus, and
// byte-level BPE. It is stored as a Hugging Face `tokenizer.json`.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

class Tokenizer {
 public:
  enum class Kind { bytes, chars, bpe };
  virtual ~Tokenizer() = default;

  /// A tokenizer.json, a folder with one, with encoder.json + vocab.bpe or with vocab.json +
  /// merges.txt, or one of those files. Training: tokenizer/trainer.hpp; from the parts a reader of
  /// another format has: tokenizer/make_tokenizer.hpp. FormatError for a damaged file, UserError
  /// for an unsupported one.
  static std::unique_ptr<Tokenizer> load(const std::filesystem::path& path);
  static std::unique_ptr<Tokenizer> from_json(std::string_view text, const std::string& origin);

  virtual Kind kind() const = 0;
  virtual int vocabulary() const = 0;
  /// The id that separates documents (<|endoftext|>), or -1 where the vocabulary has none.
  virtual int separator() const = 0;
  /// Appends the ids of `text`. Text that looks like a special token is plain unless `special`.
  virtual void encode(std::string_view text,
                      std::vector<int32_t>& ids,
                      bool special = false) const = 0;
  virtual std::string decode(std::span<const int32_t> ids) const = 0;
  /// The bytes of one token; specials give their text.
  virtual std::string token_bytes(int32_t id) const = 0;
  virtual bool is_special(int32_t id) const = 0;
  /// Merges "left right" in the printable byte remapping, best first, and the token's text in that
  /// remapping (a special token's text as it is): what GGUF stores, and tokenizer.json but for
  /// characters. The merges of characters put those of several bytes together.
  virtual std::vector<std::string> merges() const = 0;
  virtual std::string token_text(int32_t id) const = 0;
  /// Canonical tokenizer.json; equal tokenizers give equal text.
  virtual std::string to_json() const = 0;
  /// Hash of to_json(): what a token store remembers.
  uint64_t hash() const;
};

}  // namespace isoflop
