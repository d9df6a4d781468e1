// PreTokenizer: a splitting rule at work (split_rule.hpp).
//
// Total over bytes: bytes that are not valid UTF-8 form pieces of their own (one for each maximal
// run), the rule sees the valid text between them as if nothing else existed, and no byte is lost.
#pragma once
#include "datasets/tokenizer/split_pattern.hpp"
#include "datasets/tokenizer/split_rule.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

class PreTokenizer {
 public:
  /// `origin` names the file in messages about its patterns.
  explicit PreTokenizer(SplitRule rule, const std::string& origin = "the splitting rule");
  /// GPT-2's splitting (Radford et al. 2019, encoder.py), whitespace as Unicode defines it.
  static PreTokenizer gpt2();

  const SplitRule& rule() const { return rule_; }

  /// First position at or after `wanted` where the text may be cut without changing any piece of a
  /// named rule, or its end: behind a printable ASCII character and before a space.
  static size_t safe_cut(std::string_view text, size_t wanted);

  /// Walks over the pieces of one text after another. One thread; must not outlive the
  /// PreTokenizer.
  class Splitter {
   public:
    explicit Splitter(const PreTokenizer& rule);
    /// `more`: the text goes on with one that has begun, so no space is put before it.
    void start(std::string_view text, bool more = false);
    /// The next piece, never empty; false at the end. The view points into the text, but where the
    /// rule puts a space before a piece: then it is good until the next call.
    bool next(std::string_view& piece) { return pull(steps_.size(), piece); }

   private:
    /// One step of the rule and what it has still to cut.
    struct Step {
      SplitStep::Kind kind;
      std::string_view literal;
      std::optional<SplitPattern::Matcher> matcher;
      std::string_view text;
      size_t at = 0;
      SplitPattern::Match match{};  // the next one of a pattern or literal
      std::string prefixed;

      void begin(std::string_view fragment, bool more = false);
      size_t piece_end();
      size_t matched_end();
    };
    /// The next piece after the first `steps` steps.
    bool pull(size_t steps, std::string_view& piece);
    bool next_stretch(std::string_view& stretch);

    std::vector<Step> steps_;
    std::string_view text_;
    size_t at_ = 0;
    bool more_ = false;  // nothing was cut yet of a text that goes on
    bool valid_ = true;  // whether the stretch being cut is UTF-8
  };

 private:
  SplitRule rule_;
  std::vector<std::optional<SplitPattern>> patterns_;  // by step
};

}  // namespace isoflop
