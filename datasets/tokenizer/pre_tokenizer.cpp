#include "datasets/tokenizer/pre_tokenizer.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/error.hpp"
#include "datasets/tokenizer/utf8.hpp"

#include <pcre2.h>

#include <algorithm>

namespace isoflop {

namespace {

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ with two changes that
// leave its matches alone: \s spelled out as the Unicode property White_Space (PCRE2's own \s also
// takes U+180E, which is none since Unicode 6.3), and possessive repeats where there is nothing to
// give back, so that a match needs no stack however long the run.
constexpr char kGpt2[] =
    R"('(?:[smdt]|re|ve|ll)| ?\p{L}++| ?\p{N}++| ?[^\p{L}\p{N}\p{Z}\t-\r\x{85}]++)"
    R"(|[\p{Z}\t-\r\x{85}]+(?![^\p{Z}\t-\r\x{85}])|[\p{Z}\t-\r\x{85}]++)";

}  // namespace

void PreTokenizer::Free::operator()(pcre2_real_code_8* code) const {
  pcre2_code_free(code);
}
void PreTokenizer::Splitter::Free::operator()(pcre2_real_match_data_8* data) const {
  pcre2_match_data_free(data);
}

PreTokenizer PreTokenizer::gpt2() {
  return PreTokenizer(kGpt2);
}

PreTokenizer::PreTokenizer(const char* pattern) {
  int error = 0;
  size_t offset = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                            PCRE2_UTF | PCRE2_ANCHORED, &error, &offset, nullptr));
  ISOFLOP_CHECK(code_, "splitting pattern: error {} at {}", error, offset);
  // Where a system forbids executable memory this fails, and pcre2_match interprets instead.
  pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
}

size_t PreTokenizer::safe_cut(std::string_view text, size_t wanted) {
  for (size_t i = std::max<size_t>(wanted, 1); i < text.size(); ++i) {
    const bool before = text[i - 1] > ' ' && text[i - 1] < 0x7F;
    if (before && (text[i] == ' ' || text[i] == '\n')) return i;
  }
  return text.size();
}

PreTokenizer::Splitter::Splitter(const PreTokenizer& rule)
    : code_(rule.code_.get()), match_(pcre2_match_data_create(1, nullptr)) {
  if (!match_) fail_io("not enough memory to split text");
}

void PreTokenizer::Splitter::start(std::string_view text) {
  text_ = text;
  at_ = 0;
  valid_begin_ = 0;
  valid_end_ = valid_utf8_prefix(text);
}

bool PreTokenizer::Splitter::next(std::string_view& piece) {
  if (at_ == text_.size()) return false;
  if (at_ == valid_end_) {
    piece = invalid_run();
    return true;
  }
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text_.data() + valid_begin_);
  const int result = pcre2_match(code_, subject, valid_end_ - valid_begin_, at_ - valid_begin_,
                                 PCRE2_NO_UTF_CHECK, match_.get(), nullptr);
  const size_t end = valid_begin_ + pcre2_get_ovector_pointer(match_.get())[1];
  ISOFLOP_CHECK(result == 1 && end > at_, "the splitting pattern answers {} at byte {}", result,
                at_);
  piece = text_.substr(at_, end - at_);
  at_ = end;
  return true;
}

std::string_view PreTokenizer::Splitter::invalid_run() {
  const size_t begin = at_;
  do ++at_;
  while (at_ < text_.size() && first_code_point(text_.substr(at_)).bytes == 0);
  valid_begin_ = at_;
  valid_end_ = at_ + valid_utf8_prefix(text_.substr(at_));
  return text_.substr(begin, at_ - begin);
}

}  // namespace isoflop
