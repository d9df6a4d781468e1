// PreTokenizer: the rule that splits text into pieces before byte-pair merges, which never cross a
// piece. It owns the compiled pattern; today there is GPT-2's, and another rule is another pattern
// here.
//
// Total over bytes: bytes that are not valid UTF-8 form pieces of their own (one for each maximal
// run), the pattern sees the valid text between them as if nothing else existed, and no byte is
// lost.
#pragma once
#include <cstddef>
#include <memory>
#include <string_view>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;

namespace isoflop {

class PreTokenizer {
 public:
  /// GPT-2's splitting (Radford et al. 2019, encoder.py), whitespace as Unicode defines it.
  static PreTokenizer gpt2();

  /// First position at or after `wanted` where the text may be cut without changing any piece, or
  /// its end: behind a printable ASCII character and before a space or newline.
  static size_t safe_cut(std::string_view text, size_t wanted);

  /// Walks over the pieces of one text after another. One thread; must not outlive the
  /// PreTokenizer.
  class Splitter {
   public:
    explicit Splitter(const PreTokenizer& rule);
    void start(std::string_view text);
    /// The next piece, never empty; false at the end. The view points into the text.
    bool next(std::string_view& piece);

   private:
    struct Free {
      void operator()(pcre2_real_match_data_8* data) const;
    };
    std::string_view invalid_run();

    const pcre2_real_code_8* code_;
    std::unique_ptr<pcre2_real_match_data_8, Free> match_;
    std::string_view text_;
    size_t at_ = 0;
    size_t valid_begin_ = 0;  // the stretch of valid UTF-8 that holds at_
    size_t valid_end_ = 0;
  };

 private:
  explicit PreTokenizer(const char* pattern);
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  std::unique_ptr<pcre2_real_code_8, Free> code_;
};

}  // namespace isoflop
