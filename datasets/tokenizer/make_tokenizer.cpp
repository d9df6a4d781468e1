#include "datasets/tokenizer/make_tokenizer.hpp"

#include "core/error.hpp"
#include "datasets/tokenizer/bpe_tokenizer.hpp"
#include "datasets/tokenizer/byte_text.hpp"
#include "datasets/tokenizer/char_tokenizer.hpp"
#include "datasets/tokenizer/utf8.hpp"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace isoflop {

namespace {

/// Ids up to this fit every format we write.
constexpr size_t kLargestVocabulary = 1 << 24;

class Maker {
 public:
  Maker(const TokenizerParts& parts, const std::string& origin) : parts_(parts), origin_(origin) {}

  std::unique_ptr<Tokenizer> make() {
    number_tokens();
    mark_specials();
    read_tokens();
    const int missing = missing_byte();
    if (missing >= 0) {
      if (!all_characters())
        fail_format("{}: byte 0x{:02X} has no token, so not every text could be encoded", origin_,
                    missing);
      return std::make_unique<CharTokenizer>(std::move(vocabulary_));
    }
    read_merges();
    return std::make_unique<BpeTokenizer>(std::move(vocabulary_), std::move(merges_), results_);
  }

 private:
  void number_tokens() {
    if (parts_.token_texts.empty()) fail_format("{}: the vocabulary is empty", origin_);
    if (parts_.token_texts.size() > kLargestVocabulary)
      fail_format("{}: {} tokens are more than the {} we take", origin_, parts_.token_texts.size(),
                  kLargestVocabulary);
    for (size_t id = 0; id < parts_.token_texts.size(); ++id) {
      const std::string& text = parts_.token_texts[id];
      if (text.empty()) fail_format("{}: token {} is empty", origin_, id);
      const auto [other, fresh] = ids_.emplace(text, static_cast<int32_t>(id));
      if (!fresh)
        fail_format("{}: tokens {} and {} are both {}", origin_, other->second, id,
                    in_quotes(text));
    }
  }

  void mark_specials() {
    vocabulary_.is_special.resize(parts_.token_texts.size());
    std::vector<int> ids = parts_.special_ids;
    if (parts_.separator >= 0) {
      const auto found = std::find(ids.begin(), ids.end(), parts_.separator);
      if (found == ids.end())
        fail_format("{}: the separator {} is not one of the special tokens", origin_,
                    parts_.separator);
      std::swap(*found, ids.front());
    }
    if (!ids.empty()) std::sort(ids.begin() + 1, ids.end());
    for (const int id : ids) {
      if (id < 0 || static_cast<size_t>(id) >= parts_.token_texts.size())
        fail_format("{}: special token {} is outside the vocabulary of {}", origin_, id,
                    parts_.token_texts.size());
      if (vocabulary_.is_special[static_cast<size_t>(id)])
        fail_format("{}: special token {} is listed twice", origin_, id);
      vocabulary_.is_special[static_cast<size_t>(id)] = true;
      vocabulary_.special_ids.push_back(id);
    }
  }

  void read_tokens() {
    vocabulary_.tokens = parts_.token_texts;
    for (size_t id = 0; id < vocabulary_.tokens.size(); ++id)
      if (!vocabulary_.is_special[id] &&
          !from_printable(parts_.token_texts[id], vocabulary_.tokens[id]))
        fail_format("{}: token {} {} holds a character that stands for no byte", origin_, id,
                    in_quotes(parts_.token_texts[id]));
  }

  int missing_byte() const {
    for (int byte = 0; byte < 256; ++byte) {
      const auto found = ids_.find(to_printable(std::string(1, static_cast<char>(byte))));
      if (found == ids_.end() || vocabulary_.is_special[static_cast<size_t>(found->second)])
        return byte;
    }
    return -1;
  }

  bool all_characters() const {
    for (size_t id = 0; id < vocabulary_.tokens.size(); ++id) {
      const std::string& token = vocabulary_.tokens[id];
      if (!vocabulary_.is_special[id] &&
          static_cast<size_t>(first_code_point(token).bytes) != token.size())
        return false;
    }
    return true;
  }

  int32_t merge_side(size_t merge, std::string_view text) const {
    const auto found = ids_.find(std::string(text));
    if (found == ids_.end() || vocabulary_.is_special[static_cast<size_t>(found->second)])
      fail_format("{}: merge {}: {} is not a token", origin_, merge, in_quotes(text));
    return found->second;
  }

  void read_merges() {
    MergeTable seen(parts_.merges.size());
    for (size_t i = 0; i < parts_.merges.size(); ++i) {
      const std::string_view merge = parts_.merges[i];
      const size_t space = merge.find(' ');
      if (space == merge.npos || merge.find(' ', space + 1) != merge.npos)
        fail_format("{}: merge {} {} is not two texts with a space between", origin_, i,
                    in_quotes(merge));
      const int32_t left = merge_side(i, merge.substr(0, space));
      const int32_t right = merge_side(i, merge.substr(space + 1));
      merges_.emplace_back(left, right);
      results_.push_back(merge_side(
          i, std::string(merge.substr(0, space)) + std::string(merge.substr(space + 1))));
      if (!seen.add(left, right, {}))
        fail_format("{}: merge {} {} is listed twice", origin_, i, in_quotes(merge));
    }
  }

  const TokenizerParts& parts_;
  const std::string& origin_;
  std::unordered_map<std::string, int32_t> ids_;  // by text
  Vocabulary vocabulary_;
  std::vector<std::pair<int32_t, int32_t>> merges_;
  std::vector<int32_t> results_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerParts& parts, const std::string& origin) {
  return Maker(parts, origin).make();
}

std::unique_ptr<Tokenizer> make_bpe_tokenizer(std::vector<std::string> token_texts,
                                              std::vector<std::string> merges,
                                              std::vector<int> special_ids,
                                              int separator,
                                              const std::string& origin) {
  return make_tokenizer(
      {std::move(token_texts), std::move(merges), std::move(special_ids), separator}, origin);
}

}  // namespace isoflop
