// A tokenizer as the lists of a GGUF file.
#pragma once
#include "datasets/tokenizer.hpp"
#include "formats/gguf.hpp"

#include <string>
#include <vector>

namespace isoflop {

struct GgufVocabulary {
  std::string model;                // tokenizer.ggml.model
  std::string splitting;            // tokenizer.ggml.pre; "" for SentencePiece
  std::vector<std::string> texts;   // as tokenizer.ggml.tokens has them; all different
  std::vector<int32_t> types;       // gguf::kNormalToken, ...
  std::vector<std::string> merges;  // "left right", best first; none for SentencePiece
  std::vector<float> scores;        // SentencePiece only
  bool space_prefix = false;        // SentencePiece only
  bool collapse_spaces = false;     // SentencePiece only
  int unknown = -1;                 // SentencePiece only
  uint32_t end_of_text = 0;         // written as BOS and EOS
  std::vector<std::string> notes;   // what a reader of the report should know
};

/// `rows` >= the tokenizer's vocabulary: the model's table. Rows without a token become [PAD0], ...
/// A character vocabulary is exact too: characters of several bytes get the merges that build them,
/// which can apply nowhere else since no byte sequence of UTF-8 begins inside a character.
/// UserError for a tokenizer that runtimes cannot follow: patterns of its own instead of a rule
/// with a name, pieces without bytes.
GgufVocabulary make_gguf_vocabulary(const Tokenizer& tokenizer, int64_t rows);

void put_tokenizer_keys(GgufWriter& writer, const GgufVocabulary& vocabulary);

}  // namespace isoflop
