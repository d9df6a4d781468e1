#include "datasets/tokenizer/special_tokens.hpp"

#include <algorithm>
#include <utility>

namespace isoflop {

SpecialTokens::SpecialTokens(std::vector<Token> tokens) : tokens_(std::move(tokens)) {
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const Token& a, const Token& b) { return a.text.size() > b.text.size(); });
  for (const Token& token : tokens_) starts_[static_cast<unsigned char>(token.text[0])] = true;
}

const SpecialTokens::Token* SpecialTokens::match(std::string_view text) const {
  for (const Token& token : tokens_)
    if (text.substr(0, token.text.size()) == token.text) return &token;
  return nullptr;
}

}  // namespace isoflop
