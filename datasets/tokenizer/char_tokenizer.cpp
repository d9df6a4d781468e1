#include "datasets/tokenizer/char_tokenizer.hpp"

#include "core/error.hpp"
#include "core/utf8.hpp"
#include "datasets/tokenizer/byte_text.hpp"
#include "datasets/tokenizer/tokenizer_json.hpp"

#include <set>
#include <utility>

namespace isoflop {

CharTokenizer::CharTokenizer(Vocabulary vocabulary) : VocabularyTokenizer(std::move(vocabulary)) {
  for (size_t id = 0; id < parts().tokens.size(); ++id) {
    if (parts().types[id] != TokenType::normal) continue;
    const size_t point = first_code_point(parts().tokens[id]).value;
    if (point >= ids_.size()) ids_.resize(point + 1, -1);
    ids_[point] = static_cast<int32_t>(id);
  }
}

void CharTokenizer::encode_plain(
    std::string_view text, size_t begin, size_t size, bool, std::vector<int32_t>& ids) const {
  for (size_t at = begin; at < begin + size;) {
    const std::string_view rest = text.substr(at, begin + size - at);
    const CodePoint point = first_code_point(rest);
    if (point.bytes == 0 || point.value >= ids_.size() || ids_[point.value] < 0)
      fail_user(
          "{} at byte {} of the text is not among the {} characters of the tokenizer; train it on "
          "all the text, or use one that takes any text (bytes, bpe:N)",
          describe_character(rest), at, vocabulary());
    ids.push_back(ids_[point.value]);
    at += static_cast<size_t>(point.bytes);
  }
}

std::vector<std::string> CharTokenizer::merges() const {
  std::vector<std::string> texts;
  std::set<std::string> seen;  // characters share their first bytes
  for (int32_t id = 0; id < vocabulary(); ++id) {
    if (type(id) != TokenType::normal) continue;
    const std::string bytes = token_bytes(id);
    for (size_t joined = 1; joined < bytes.size(); ++joined) {
      const std::string merge =
          to_printable(bytes.substr(0, joined)) + ' ' + to_printable(bytes.substr(joined, 1));
      if (seen.insert(merge).second) texts.push_back(merge);
    }
  }
  return texts;
}

std::string CharTokenizer::to_json() const {
  TokenizerFile file;
  file.form = TokenizerFile::Form::characters;
  file.tokens = parts().tokens;
  file.added = parts().added;
  return write_tokenizer_json(file);
}

}  // namespace isoflop
