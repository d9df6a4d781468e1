// MergeLearner: byte-pair encoding's training (Sennrich, Haddow and Birch 2016, algorithm 1) on
// counted words, with counts kept up to date instead of counted anew for each merge.
//
// The most frequent pair of neighbours is merged first; among pairs of equal count the one whose
// (left bytes, right bytes) is lexicographically greatest. So the merges are a function of the
// counts alone.
#pragma once
#include "datasets/tokenizer/word_counter.hpp"

#include <cstddef>
#include <cstdint>
#include <queue>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace isoflop {

class MergeLearner {
 public:
  /// `tokens`: bytes of each id, among them every single byte.
  MergeLearner(const std::vector<WordCount>& words, std::vector<std::string> tokens);

  /// Merges until there are `vocabulary` tokens, or no two tokens stand side by side any more.
  void learn(size_t vocabulary);

  const std::vector<std::string>& tokens() const { return tokens_; }
  const std::vector<std::pair<int32_t, int32_t>>& merges() const { return merges_; }

 private:
  using PairKey = uint64_t;  // left id, right id
  struct PairHash {
    size_t operator()(PairKey pair) const { return (pair ^ pair >> 29) * 0x9E3779B97F4A7C15u >> 7; }
  };
  struct PairState {
    int64_t count = 0;
    std::vector<uint32_t> places;  // where the left one may stand; checked when used
  };
  struct Candidate {
    int64_t count;
    PairKey pair;
  };
  struct Worse {
    const std::vector<std::string>* tokens;
    bool operator()(const Candidate& a, const Candidate& b) const;
  };
  static constexpr uint32_t kEnd = ~uint32_t{0};

  void lay_out(const std::vector<WordCount>& words);
  bool next_candidate(Candidate& best);
  void apply(PairKey pair);
  int32_t token_of(std::string&& text);
  void join(uint32_t left, uint32_t right, int32_t merged);
  void change(int32_t left, int32_t right, int64_t count, uint32_t place);

  std::vector<std::string> tokens_;
  std::unordered_map<std::string, int32_t> ids_;
  std::vector<std::pair<int32_t, int32_t>> merges_;

  // All words, symbol after symbol.
  std::vector<int32_t> symbol_;            // -1 once it has been merged into the one before it
  std::vector<uint32_t> previous_, next_;  // kEnd at the ends of a word
  std::vector<uint32_t> word_;             // whose symbol it is
  std::vector<int64_t> word_count_;

  std::unordered_map<PairKey, PairState, PairHash> pairs_;
  std::priority_queue<Candidate, std::vector<Candidate>, Worse> heap_;  // counts may be outdated
  std::vector<PairKey> grown_;  // pairs whose count rose since they were last in the heap
};

}  // namespace isoflop
