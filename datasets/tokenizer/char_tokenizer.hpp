// One token for each character (code point) of a corpus.
#pragma once
#include "datasets/tokenizer/vocabulary.hpp"

#include <string>
#include <vector>

namespace isoflop {

class CharTokenizer : public VocabularyTokenizer {
 public:
  /// Every token that is not special is one code point in UTF-8; make_tokenizer() checks this.
  explicit CharTokenizer(Vocabulary vocabulary);

  Kind kind() const override { return Kind::chars; }
  /// Merges that put characters of several bytes together, so that a byte-level reader of the token
  /// texts (GGUF) encodes as we do; those of three and four bytes pass through texts that are no
  /// tokens.
  std::vector<std::string> merges() const override;
  std::string to_json() const override;

 protected:
  /// UserError naming the character and where it is when it is not in the vocabulary.
  void encode_plain(std::string_view text,
                    size_t begin,
                    size_t size,
                    bool more,
                    std::vector<int32_t>& ids) const override;

 private:
  std::vector<int32_t> ids_;  // by code point; -1: not in the vocabulary
};

}  // namespace isoflop
