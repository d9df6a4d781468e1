// What a vocabulary of scored pieces says about characters and neighbours: the table for
// PieceMerger.
#pragma once
#include "datasets/tokenizer/merge_table.hpp"
#include "datasets/tokenizer/piece_tokenizer.hpp"

#include <string>
#include <unordered_map>
#include <vector>

namespace isoflop {

/// Characters that are no piece of their own, yet may be joined into one, have ids from here on.
constexpr int32_t kFirstCharacterId = 1 << 25;

class PieceMerges {
 public:
  explicit PieceMerges(const PieceModel& model);

  struct Character {
    int32_t id = -1;       // the piece, or kFirstCharacterId + code point
    bool joins = false;    // stands in a piece of several characters
    bool crosses = false;  // stands right before a space within a piece
  };
  Character character(char32_t value) const {
    if (value < characters_.size() && characters_[value].id >= 0) return characters_[value];
    return {kFirstCharacterId + static_cast<int32_t>(value), false, false};
  }
  const MergeTable& table() const { return table_; }
  /// "left right" of all merges between pieces, the best first.
  std::vector<std::string> texts() const;

 private:
  struct Merge {
    int32_t left, right, result, rank;
  };
  Character& known(char32_t value);
  int32_t id_of(std::string_view text) const;  // -1: none
  void note_characters();
  void find_merges();

  const PieceModel& model_;
  std::unordered_map<std::string_view, int32_t> ids_;  // of pieces that may be joined
  std::vector<Character> characters_;                  // by code point
  std::vector<Merge> merges_;
  MergeTable table_{0};
};

}  // namespace isoflop
