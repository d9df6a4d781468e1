// SentencePiece's BPE (Kudo and Richardson 2018), as LLaMA uses it, from whatever file holds its
// pieces: text becomes characters; of all neighbours that make a piece together, those that make
// the piece of the highest score are joined first, the leftmost where several do, until none is
// left. A character that is no piece becomes its bytes, where the vocabulary has them, else <unk>.
//
// Before that, text is normalized: a space (U+2581) is put before it, runs of spaces become one and
// those at the ends none, as the model asks; bytes that are not UTF-8 become U+FFFD. So decode()
// gives back text with that space in front.
#pragma once
#include "datasets/tokenizer.hpp"

#include <memory>
#include <string>
#include <vector>

namespace isoflop {

struct PieceModel {
  struct Piece {
    std::string text;  // U+2581 for a space; bytes as <0x0A>
    float score = 0;
    TokenType type = TokenType::normal;
  };
  std::vector<Piece> pieces;  // by id
  int separator = -1;         // a control piece, or -1 for the first one
  bool space_prefix = true;
  bool collapse_spaces = false;
};

/// FormatError for pieces that are empty, not UTF-8 or there twice, and for a model that lacks some
/// bytes, or has neither bytes nor <unk>. `origin` is what messages call the file.
std::unique_ptr<Tokenizer> make_piece_tokenizer(PieceModel model, const std::string& origin);

}  // namespace isoflop
