#include "datasets/tokenizer/pre_tokenizer.hpp"

#include "core/error.hpp"
#include "core/utf8.hpp"
#include "datasets/tokenizer/split_scan.hpp"

#include <algorithm>
#include <utility>

namespace isoflop {

using Kind = SplitStep::Kind;

PreTokenizer PreTokenizer::gpt2() {
  return PreTokenizer(SplitRule{{{Kind::gpt2, {}}}});
}

PreTokenizer::PreTokenizer(SplitRule rule, const std::string& origin) : rule_(std::move(rule)) {
  for (const SplitStep& step : rule_.steps) {
    patterns_.emplace_back();
    if (step.kind == Kind::pattern) patterns_.back().emplace(step.text, origin);
  }
}

size_t PreTokenizer::safe_cut(std::string_view text, size_t wanted) {
  for (size_t i = std::max<size_t>(wanted, 1); i < text.size(); ++i)
    if (text[i] == ' ' && text[i - 1] > ' ' && text[i - 1] < 0x7F) return i;
  return text.size();
}

PreTokenizer::Splitter::Splitter(const PreTokenizer& rule) {
  for (size_t i = 0; i < rule.rule_.steps.size(); ++i) {
    Step& step = steps_.emplace_back();
    step.kind = rule.rule_.steps[i].kind;
    step.literal = rule.rule_.steps[i].text;
    if (rule.patterns_[i]) step.matcher.emplace(*rule.patterns_[i]);
  }
}

void PreTokenizer::Splitter::start(std::string_view text, bool more) {
  text_ = text;
  at_ = 0;
  more_ = more;
  for (Step& step : steps_) step.begin({});
}

bool PreTokenizer::Splitter::pull(size_t steps, std::string_view& piece) {
  if (steps == 0) return next_stretch(piece);
  Step& step = steps_[steps - 1];
  while (step.at == step.text.size()) {
    std::string_view fragment;
    if (!pull(steps - 1, fragment)) return false;
    const bool more = steps == 1 && std::exchange(more_, false);
    if (!valid_) {
      piece = fragment;
      return true;
    }
    step.begin(fragment, more);
  }
  const size_t end = step.piece_end();
  piece = step.text.substr(step.at, end - step.at);
  step.at = end;
  return true;
}

/// The longest stretch from at_ that is UTF-8, or that is not.
bool PreTokenizer::Splitter::next_stretch(std::string_view& stretch) {
  if (at_ == text_.size()) return false;
  const size_t begin = at_;
  at_ += valid_utf8_prefix(text_.substr(at_));
  valid_ = at_ > begin;
  while (!valid_ && at_ < text_.size() && first_code_point(text_.substr(at_)).bytes == 0) ++at_;
  stretch = text_.substr(begin, at_ - begin);
  return true;
}

void PreTokenizer::Splitter::Step::begin(std::string_view fragment, bool more) {
  text = fragment;
  at = 0;
  match = {};
  if (kind != Kind::space_prefix || more || fragment.empty() || fragment[0] == ' ') return;
  prefixed.assign(1, ' ');
  prefixed += fragment;
  text = prefixed;
}

size_t PreTokenizer::Splitter::Step::piece_end() {
  switch (kind) {
    case Kind::gpt2:
      return gpt2_piece_end(text, at);
    case Kind::llama3:
      return llama3_piece_end(text, at, 3);
    case Kind::qwen2:
      return llama3_piece_end(text, at, 1);
    case Kind::numbers:
      return number_piece_end(text, at);
    case Kind::number_runs:
      return number_run_end(text, at);
    case Kind::pattern:
    case Kind::literal:
      return matched_end();
    case Kind::space_prefix:
      break;
  }
  return text.size();
}

/// The end of the match that begins here, or else the beginning of the next one.
size_t PreTokenizer::Splitter::Step::matched_end() {
  if (match.end <= at) {
    const size_t begin = kind == Kind::literal ? text.find(literal, at) : 0;
    if (kind == Kind::pattern)
      match = matcher->find(text, at);
    else
      match = begin == text.npos ? SplitPattern::Match{text.size(), text.size()}
                                 : SplitPattern::Match{begin, begin + literal.size()};
  }
  return match.begin > at ? match.begin : match.end;
}

}  // namespace isoflop
