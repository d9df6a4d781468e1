// WordCounter: how often each piece (a "word" of the splitting rule) occurs in text of any size.
// What it holds grows with the number of different words, not with the text.
#pragma once
#include "core/threads.hpp"
#include "datasets/tokenizer/added_tokens.hpp"
#include "datasets/tokenizer/pre_tokenizer.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct WordCount {
  std::string word;
  int64_t count;
};

/// Words and counts in one hash table with one store of text.
class WordTable {
 public:
  void add(std::string_view word, int64_t count);
  std::vector<WordCount> words() const;  // in no particular order

 private:
  struct Slot {
    uint64_t hash;
    size_t begin;
    uint32_t size;
    int64_t count;  // 0: unused
  };
  Slot& find(uint64_t hash, std::string_view word);
  void grow();

  std::vector<Slot> slots_ = std::vector<Slot>(1 << 10);  // open addressing, at most half full
  size_t used_ = 0;
  std::string text_;
};

class WordCounter {
 public:
  /// Texts of special tokens are no words and separate what stands beside them. `threads` 0 = all
  /// cores; the result does not depend on it.
  WordCounter(const std::vector<std::string>& special_tokens, int threads);

  /// One or more whole documents: words do not continue from one call to the next.
  void add(std::string_view text);
  /// All words, sorted by their bytes.
  std::vector<WordCount> finish();

 private:
  void count_buffered();

  AddedTokens specials_;
  PreTokenizer rule_;
  ThreadTeam team_;
  std::vector<WordTable> tables_;  // one per thread
  std::string buffer_;             // text waiting until there is enough to share out
  std::vector<size_t> ends_;       // where a call's text ends in it
};

}  // namespace isoflop
