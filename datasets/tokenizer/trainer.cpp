#include "datasets/tokenizer/trainer.hpp"

#include "core/error.hpp"
#include "core/utf8.hpp"
#include "datasets/tokenizer/byte_text.hpp"
#include "datasets/tokenizer/make_tokenizer.hpp"
#include "datasets/tokenizer/merge_learner.hpp"
#include "datasets/tokenizer/word_counter.hpp"

#include <algorithm>
#include <set>
#include <utility>

namespace isoflop {

namespace {

using Kind = Tokenizer::Kind;

void check_special_tokens(const std::vector<std::string>& texts) {
  std::set<std::string> seen;
  for (const std::string& text : texts) {
    if (text.empty() || valid_utf8_prefix(text) != text.size())
      fail_user("special token {} must be UTF-8 and not empty", in_quotes(text));
    if (text.size() > AddedTokens::kLongest)
      fail_user("special token {} has {} bytes; at most {} are taken", in_quotes(text), text.size(),
                AddedTokens::kLongest);
    if (!seen.insert(text).second) fail_user("special token {} is given twice", in_quotes(text));
  }
}

/// Characters seen so far. UserError at text that is not UTF-8.
class CharacterSet {
 public:
  void add(std::string_view text) {
    for (size_t at = 0; at < text.size();) {
      const CodePoint point = first_code_point(text.substr(at));
      if (point.bytes == 0)
        fail_user(
            "{} at byte {} of the text is not UTF-8, so it is no character; use bytes or bpe:N",
            describe_character(text.substr(at)), at);
      if (point.value >= seen_.size()) seen_.resize(point.value + 1);
      seen_[point.value] = true;
      at += static_cast<size_t>(point.bytes);
    }
  }

  std::vector<std::string> sorted() const {
    std::vector<std::string> characters;
    for (size_t point = 0; point < seen_.size(); ++point)
      if (seen_[point]) append_utf8(characters.emplace_back(), static_cast<char32_t>(point));
    return characters;
  }

 private:
  std::vector<bool> seen_;  // by code point
};

}  // namespace

struct TokenizerTrainer::State {
  Kind kind;
  size_t vocabulary;
  std::vector<std::string> special_tokens;
  AddedTokens specials;
  std::unique_ptr<WordCounter> words;  // bpe only
  CharacterSet characters;
  bool any_text = false;
};

TokenizerTrainer::TokenizerTrainer(const TokenizerTraining& training) {
  std::vector<std::string> specials = training.special_tokens.value_or(
      training.kind == Kind::chars ? std::vector<std::string>{}
                                   : std::vector<std::string>{"<|endoftext|>"});
  check_special_tokens(specials);
  const int least = static_cast<int>(specials.size()) + 256;
  if (training.kind == Kind::bpe && training.vocabulary < least)
    fail_user("a vocabulary of {} is too small: {} special tokens and 256 bytes make {}",
              training.vocabulary, specials.size(), least);
  std::vector<AddedTokens::Token> tokens;
  for (const std::string& text : specials) tokens.push_back({text, {}});
  state_.reset(new State{training.kind,
                         static_cast<size_t>(std::max(training.vocabulary, 0)),
                         specials,
                         AddedTokens(std::move(tokens)),
                         nullptr,
                         {}});
  if (training.kind == Kind::bpe)
    state_->words = std::make_unique<WordCounter>(specials, training.threads);
}

TokenizerTrainer::~TokenizerTrainer() = default;

void TokenizerTrainer::add(std::string_view text) {
  if (!text.empty()) state_->any_text = true;
  if (state_->kind == Kind::bpe) state_->words->add(text);
  if (state_->kind == Kind::chars)
    state_->specials.split(
        text, true, [&](std::string_view plain) { state_->characters.add(plain); }, [](int32_t) {});
}

std::unique_ptr<Tokenizer> TokenizerTrainer::finish() {
  if (state_->kind != Kind::bytes && !state_->any_text)
    fail_user("there is no text to train a tokenizer on");
  TokenizerParts parts;
  parts.token_texts = state_->special_tokens;
  for (size_t i = 0; i < parts.token_texts.size(); ++i)
    parts.added.push_back({.id = static_cast<int32_t>(i)});
  if (state_->kind == Kind::chars) {
    for (const std::string& character : state_->characters.sorted())
      parts.token_texts.push_back(to_printable(character));
    return make_tokenizer(parts, "the trained tokenizer");
  }

  std::vector<std::string> tokens = state_->special_tokens;
  for (const uint8_t byte : bytes_in_printable_order())
    tokens.emplace_back(1, static_cast<char>(byte));
  MergeLearner learner(state_->words ? state_->words->finish() : std::vector<WordCount>{},
                       std::move(tokens));
  learner.learn(state_->vocabulary);
  for (size_t id = parts.token_texts.size(); id < learner.tokens().size(); ++id)
    parts.token_texts.push_back(to_printable(learner.tokens()[id]));
  for (const auto& [left, right] : learner.merges())
    parts.merges.push_back(parts.token_texts[static_cast<size_t>(left)] + ' ' +
                           parts.token_texts[static_cast<size_t>(right)]);
  return make_tokenizer(parts, "the trained tokenizer");
}

}  // namespace isoflop
