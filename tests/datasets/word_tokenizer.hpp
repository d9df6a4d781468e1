// A tokenizer small enough to check by eye, for tests of everything around tokenizers: one id per
// word, where a word takes the single blank before it and a run of blanks leaves its last one to
// the next word, as GPT-2's rule does. Ids are hashes: they show whether the same words were cut,
// and cannot be undone.
#pragma once
#include "core/hash.hpp"
#include "datasets/tokenizer.hpp"

#include <stdexcept>
#include <string>
#include <vector>

namespace isoflop {

class WordTokenizer : public Tokenizer {
 public:
  Kind kind() const override { return Kind::bpe; }
  int vocabulary() const override { return 50000; }
  int separator() const override { return 0; }
  void encode(std::string_view text, std::vector<int32_t>& ids, bool) const override {
    const auto is_space = [](char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; };
    for (size_t begin = 0; begin < text.size();) {
      size_t end = begin;
      while (end < text.size() && is_space(text[end])) ++end;
      if (end == begin || (end == begin + 1 && text[begin] == ' ')) {
        while (end < text.size() && !is_space(text[end])) ++end;
      } else if (end < text.size() && end - begin > 1) {
        --end;
      }
      ids.push_back(1 + static_cast<int32_t>(hash_text(text.substr(begin, end - begin)) % 49999));
      begin = end;
    }
  }
  void encode_more(std::string_view text, std::vector<int32_t>& ids) const override {
    encode(text, ids, false);
  }
  std::string decode(std::span<const int32_t>) const override {
    throw std::logic_error("ids are hashes");
  }
  std::string token_bytes(int32_t) const override { throw std::logic_error("ids are hashes"); }
  bool is_special(int32_t id) const override { return id == 0; }
  std::vector<std::string> merges() const override { return {}; }
  std::string token_text(int32_t) const override { throw std::logic_error("ids are hashes"); }
  std::string to_json() const override { return "words"; }
};

}  // namespace isoflop
