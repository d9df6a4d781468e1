#include "datasets/tokenizer/split_pattern.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include "core/error.hpp"
#include "core/utf8.hpp"

#include <pcre2.h>

#include <algorithm>
#include <cctype>

namespace isoflop {

namespace {

constexpr size_t kLongest = 4096;
constexpr int kDeepest = 32;  // groups within groups
// A match of one piece of ordinary text takes a few dozen steps.
constexpr uint32_t kMostSteps = 1'000'000;
constexpr uint32_t kMostHeapKib = 64 << 10;

struct FreeContext {
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};

pcre2_match_context* limits() {
  static const std::unique_ptr<pcre2_match_context, FreeContext> context = [] {
    std::unique_ptr<pcre2_match_context, FreeContext> made(pcre2_match_context_create(nullptr));
    if (!made) fail_io("not enough memory to split text");
    pcre2_set_match_limit(made.get(), kMostSteps);
    pcre2_set_heap_limit(made.get(), kMostHeapKib);
    return made;
  }();
  return context.get();
}

}  // namespace

void SplitPattern::Free::operator()(pcre2_real_code_8* code) const {
  pcre2_code_free(code);
}
void SplitPattern::Matcher::Free::operator()(pcre2_real_match_data_8* data) const {
  pcre2_match_data_free(data);
}

SplitPattern::SplitPattern(const std::string& pattern, const std::string& field) {
  const std::string translated = to_pcre2(pattern, field);
  const std::unique_ptr<pcre2_compile_context, FreeContext> context(
      pcre2_compile_context_create(nullptr));
  if (!context) fail_io("not enough memory to split text");
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), kDeepest);
  int error = 0;
  size_t offset = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                            context.get()));
  if (!code_) {
    unsigned char why[256] = {};
    pcre2_get_error_message(error, why, sizeof(why));
    fail_format("{}: {} is not a regular expression that can be used: {}", field,
                in_quotes(pattern), reinterpret_cast<const char*>(why));
  }
  uint32_t matches_empty = 0;
  pcre2_pattern_info(code_.get(), PCRE2_INFO_MATCHEMPTY, &matches_empty);
  if (matches_empty)
    fail_user("{}: {} also matches where there is nothing, which is not supported", field,
              in_quotes(pattern));
  // Where a system forbids executable memory this fails, and pcre2_match interprets instead.
  pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
}

SplitPattern::Matcher::Matcher(const SplitPattern& pattern)
    : code_(pattern.code_.get()), match_(pcre2_match_data_create(1, nullptr)) {
  if (!match_) fail_io("not enough memory to split text");
}

SplitPattern::Match SplitPattern::Matcher::find(std::string_view text, size_t at) {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const int result =
      pcre2_match(code_, subject, text.size(), at, PCRE2_NO_UTF_CHECK, match_.get(), limits());
  if (result == PCRE2_ERROR_NOMATCH) return {text.size(), text.size()};
  if (result < 0)
    fail_user(
        "the tokenizer's splitting pattern takes too many steps at {} (PCRE2 error {}); use a "
        "tokenizer with a simpler one",
        in_quotes(text.substr(at, 40)), result);
  const size_t* range = pcre2_get_ovector_pointer(match_.get());
  return {range[0], range[1]};
}

namespace {

/// White_Space, inside a class. PCRE2's own \s also takes U+180E, which is none since Unicode 6.3.
constexpr char kSpace[] = R"(\p{Z}\t-\r\x{85})";

class Translator {
 public:
  Translator(std::string_view pattern, const std::string& field)
      : pattern_(pattern), field_(field) {}

  std::string translate() {
    if (pattern_.size() > kLongest)
      fail_user("{}: a pattern of {} bytes is too long; at most {} are taken", field_,
                pattern_.size(), kLongest);
    if (valid_utf8_prefix(pattern_) != pattern_.size())
      fail_format("{}: byte {} of the pattern is not UTF-8", field_, valid_utf8_prefix(pattern_));
    while (at_ < pattern_.size()) one();
    if (in_class_) fail_format("{}: a [ of the pattern is not closed", field_);
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    fail_user("{}: {} at byte {} of the pattern is not supported", field_, what, at_);
  }
  bool follows(std::string_view text) const { return pattern_.substr(at_, text.size()) == text; }

  void one() {
    const char c = pattern_[at_];
    if (c == '\\') return escape();
    if (in_class_) {
      if (c == '[') refuse("a class within a class");
      if (follows("&&")) refuse("an intersection of classes");
      if (c == ']') in_class_ = false;
      return copy(1);
    }
    switch (c) {
      case '[':
        in_class_ = true;
        copy(1);
        if (at_ < pattern_.size() && pattern_[at_] == '^') copy(1);
        if (at_ < pattern_.size() && pattern_[at_] == ']') refuse("a ] at the start of a class");
        return;
      case '^':
      case '$':
        refuse(std::string("the anchor ") + c);
      case '(':
        return group();
      case '{':
        return repeat();
      default:
        return copy(1);
    }
  }

  void group() {
    for (const char* kind : {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"})
      if (follows(kind)) return copy(std::string_view(kind).size());
    if (follows("(?") || follows("(*")) refuse("this kind of group");
    out_ += "(?:";  // groups are only for grouping here
    ++at_;
  }

  /// {n}, {n,} and {n,m}. Others mean different things in the two syntaxes.
  void repeat() {
    const size_t close = pattern_.find('}', at_);
    const std::string_view inside =
        pattern_.substr(at_ + 1, (close == pattern_.npos ? at_ + 1 : close) - at_ - 1);
    const bool good = !inside.empty() && inside[0] != ',' &&
                      std::count(inside.begin(), inside.end(), ',') <= 1 &&
                      inside.find_first_not_of("0123456789,") == inside.npos;
    if (!good) refuse("this {");
    copy(inside.size() + 2);
    if (at_ < pattern_.size() && (pattern_[at_] == '+' || pattern_[at_] == '?'))
      refuse("a + or ? behind {}");
  }

  void escape() {
    if (at_ + 1 == pattern_.size()) fail_format("{}: the pattern ends in \\", field_);
    const char c = pattern_[at_ + 1];
    if (c == 's') return replace(2, in_class_ ? kSpace : std::string("[") + kSpace + "]");
    if (c == 'S' && !in_class_) return replace(2, std::string("[^") + kSpace + "]");
    if (c == 'd' || c == 'r' || c == 'n' || c == 't' || c == 'f') return copy(2);
    if (c == 'p' || c == 'P') return property();
    if (c == 'u') return code_point();
    if (static_cast<unsigned char>(c) < 128 && !std::isalnum(static_cast<unsigned char>(c)))
      return copy(2);
    refuse(std::string("\\") + c);
  }

  /// \p{L} and the other general categories; \p{Han} and the other scripts, whose names mean script
  /// extensions in PCRE2 unless said otherwise.
  void property() {
    const size_t close = pattern_.find('}', at_);
    if (pattern_.substr(at_ + 2, 1) != "{" || close == pattern_.npos) refuse("this \\p");
    std::string_view name = pattern_.substr(at_ + 3, close - at_ - 3);
    const bool negative = !name.empty() && name[0] == '^';
    if (negative) name.remove_prefix(1);
    if (name.empty() || !std::all_of(name.begin(), name.end(), [](char c) {
          return std::isalpha(static_cast<unsigned char>(c)) || c == '_';
        }))
      refuse("this \\p");
    replace(close + 1 - at_, std::string("\\") + pattern_[at_ + 1] + "{" + (negative ? "^" : "") +
                                 (name.size() > 2 ? "sc:" : "") + std::string(name) + "}");
  }

  void code_point() {
    const std::string_view digits = pattern_.substr(at_ + 2, 4);
    if (digits.size() != 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos)
      refuse("this \\u");
    replace(6, "\\x{" + std::string(digits) + "}");
  }

  void copy(size_t bytes) {
    out_ += pattern_.substr(at_, bytes);
    at_ += bytes;
  }
  void replace(size_t bytes, const std::string& by) {
    out_ += by;
    at_ += bytes;
  }

  std::string_view pattern_;
  const std::string& field_;
  std::string out_;
  size_t at_ = 0;
  bool in_class_ = false;
};

}  // namespace

std::string to_pcre2(std::string_view pattern, const std::string& field) {
  return Translator(pattern, field).translate();
}

}  // namespace isoflop
