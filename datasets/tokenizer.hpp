// Tokenizer: text to ids and back. Const functions may be called from several threads at once.
//
// One class over four vocabularies: the 256 bytes, the characters (code points) of a corpus,
// byte-level BPE, and SentencePiece's BPE over characters. It is stored as a Hugging Face
// `tokenizer.json`.
//
// decode(encode(x)) == normalized(x), and normalized(x) == x for any bytes but where rules() say
// otherwise. A tokenizer of characters refuses text with a character that it does not have
// (UserError naming it and its offset).
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

enum class TokenType {
  normal,
  unknown,  // what stands for text without a token
  control,  // special: found in text only when asked for
  user,     // found in any text, beside the merges
  unused,   // a row without a text of its own
  byte,     // SentencePiece: one byte of a character without a token
};

/// What encoding does besides looking tokens up.
struct TokenizerRules {
  std::string split;  // gpt-2, llama-bpe, qwen2, smollm, or "own": patterns of its file; else ""
  std::string normalizer;        // NFC, nmt_nfkc, ...; "" = none
  bool ignore_merges = false;    // a piece that is a token is not merged
  bool space_prefix = false;     // a space is put before text
  bool collapse_spaces = false;  // runs of spaces become one, none stays at the ends
  bool byte_fallback = false;    // characters without a token become bytes
  bool lossy_bytes = false;      // bytes without a token, or that are not UTF-8, become U+FFFD
};

class Tokenizer {
 public:
  enum class Kind { bytes, chars, bpe, sentencepiece };
  virtual ~Tokenizer() = default;

  /// A tokenizer.json, SentencePiece's tokenizer.model, encoder.json + vocab.bpe or vocab.json +
  /// merges.txt, a folder with one of these, a GGUF file or llama2.c's tokenizer.bin: looks into
  /// the file, not at its name. Training: tokenizer/trainer.hpp; from the parts a reader of another
  /// format has: tokenizer/make_tokenizer.hpp. FormatError for a damaged file, UserError for an
  /// unsupported one.
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
  /// The same for text that goes on where a TextReader cut a long document: the space that some
  /// tokenizers put before a text is not put there again.
  virtual void encode_more(std::string_view text, std::vector<int32_t>& ids) const = 0;
  virtual std::string decode(std::span<const int32_t> ids) const = 0;
  /// The bytes of one token; specials give their text.
  virtual std::string token_bytes(int32_t id) const = 0;
  virtual bool is_special(int32_t id) const = 0;
  virtual TokenType type(int32_t id) const {
    return is_special(id) ? TokenType::control : TokenType::normal;
  }
  virtual TokenizerRules rules() const { return {}; }
  /// Merges "left right" in the printable byte remapping, best first, and the token's text in that
  /// remapping (the text of special and user tokens as it is): what GGUF stores, and tokenizer.json
  /// but for characters. The merges of characters put those of several bytes together.
  /// SentencePiece has pieces as texts, with U+2581 for a space, and no merges.
  virtual std::vector<std::string> merges() const = 0;
  virtual std::string token_text(int32_t id) const = 0;
  /// Canonical tokenizer.json; equal tokenizers give equal text.
  virtual std::string to_json() const = 0;
  /// SentencePiece: the higher, the earlier a piece is put together. Else 0.
  virtual float score(int32_t) const { return 0; }
  /// Hash of to_json(): what a token store remembers.
  uint64_t hash() const;
};

}  // namespace isoflop
