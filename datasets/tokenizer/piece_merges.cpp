#include "datasets/tokenizer/piece_merges.hpp"

#include "core/utf8.hpp"

#include <algorithm>

namespace isoflop {

namespace {

constexpr char32_t kSpace = 0x2581;
/// Longer pieces are never joined: looking at all their halves would take too long in a hostile
/// file. SentencePiece itself makes none above 16 characters unless told to.
constexpr size_t kLongestJoined = 512;

bool may_be_joined(const PieceModel::Piece& piece) {
  return (piece.type == TokenType::normal || piece.type == TokenType::user) &&
         piece.text.size() <= kLongestJoined;
}

}  // namespace

PieceMerges::PieceMerges(const PieceModel& model) : model_(model) {
  for (size_t id = 0; id < model.pieces.size(); ++id)
    if (may_be_joined(model.pieces[id]))
      ids_.emplace(model.pieces[id].text, static_cast<int32_t>(id));
  note_characters();
  find_merges();
  table_ = MergeTable(merges_.size());
  for (const Merge& merge : merges_)
    table_.add(merge.left, merge.right, {merge.rank, merge.result});
}

PieceMerges::Character& PieceMerges::known(char32_t value) {
  if (value >= characters_.size()) characters_.resize(value + 1);
  Character& character = characters_[value];
  if (character.id < 0) character.id = kFirstCharacterId + static_cast<int32_t>(value);
  return character;
}

void PieceMerges::note_characters() {
  for (const auto& [text, id] : ids_) {
    const bool single = static_cast<size_t>(first_code_point(text).bytes) == text.size();
    char32_t before = 0;
    for (std::string_view rest = text; !rest.empty();) {
      const CodePoint point = first_code_point(rest);
      rest.remove_prefix(static_cast<size_t>(point.bytes));
      Character& character = known(point.value);
      if (single) character.id = id;
      if (!single) character.joins = true;
      if (!single && point.value == kSpace && before != 0) known(before).crosses = true;
      before = point.value;
    }
  }
}

int32_t PieceMerges::id_of(std::string_view text) const {
  const CodePoint point = first_code_point(text);
  if (static_cast<size_t>(point.bytes) == text.size()) return character(point.value).id;
  const auto found = ids_.find(text);
  return found == ids_.end() ? -1 : found->second;
}

/// Every way to put a piece together from two, and its rank among all: pieces of equal score share
/// theirs, so that the leftmost comes first.
void PieceMerges::find_merges() {
  std::vector<int32_t> order;
  for (const auto& [text, id] : ids_) order.push_back(id);
  const auto score = [&](int32_t id) { return model_.pieces[static_cast<size_t>(id)].score; };
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    return score(a) != score(b) ? score(a) > score(b) : a < b;
  });
  int32_t rank = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && score(order[i]) != score(order[i - 1])) ++rank;
    const std::string_view text = model_.pieces[static_cast<size_t>(order[i])].text;
    for (size_t cut = 1; cut < text.size(); ++cut) {
      if ((static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) continue;  // within a character
      const int32_t left = id_of(text.substr(0, cut)), right = id_of(text.substr(cut));
      if (left >= 0 && right >= 0) merges_.push_back({left, right, order[i], rank});
    }
  }
}

std::vector<std::string> PieceMerges::texts() const {
  std::vector<std::string> texts;
  for (const Merge& merge : merges_) {
    if (merge.left >= kFirstCharacterId || merge.right >= kFirstCharacterId) continue;
    texts.push_back(model_.pieces[static_cast<size_t>(merge.left)].text + ' ' +
                    model_.pieces[static_cast<size_t>(merge.right)].text);
  }
  return texts;
}

}  // namespace isoflop
