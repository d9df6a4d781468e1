// SplitPattern: a regular expression out of a tokenizer's file, matched by PCRE2.
//
// Such expressions are written for Oniguruma (Hugging Face) in Ruby's syntax. Taken is what means
// the same in both; the rest is refused rather than matched differently: classes \s \S \d \p{..},
// groups, alternation, repeats, (?i: ), look-ahead and look-behind. \s is the Unicode property
// White_Space. Hostile expressions end in an error by PCRE2's limits, not in a hang.
#pragma once
#include <memory>
#include <string>
#include <string_view>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;

namespace isoflop {

class SplitPattern {
 public:
  /// UserError naming `field` of a file for what is not supported, FormatError for no expression.
  SplitPattern(const std::string& pattern, const std::string& field);

  struct Match {
    size_t begin, end;  // equal: there is none
  };
  /// What a thread needs to match.
  class Matcher {
   public:
    explicit Matcher(const SplitPattern& pattern);
    /// The first match at or after `at` in text that is valid UTF-8. UserError when the expression
    /// exceeds a limit.
    Match find(std::string_view text, size_t at);

   private:
    struct Free {
      void operator()(pcre2_real_match_data_8* data) const;
    };
    const pcre2_real_code_8* code_;
    std::unique_ptr<pcre2_real_match_data_8, Free> match_;
  };

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  std::unique_ptr<pcre2_real_code_8, Free> code_;
};

/// The expression in PCRE2's words; UserError or FormatError as above.
std::string to_pcre2(std::string_view pattern, const std::string& field);

}  // namespace isoflop
