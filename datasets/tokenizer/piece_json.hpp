// A model of pieces as tokenizer.json: what Hugging Face's `tokenizers` needs to give the same ids
// (normalizer, merges, byte fallback), and in model.isoflop.pieces, which it passes over, what it
// has no place for: scores, types, and how text is normalized.
#pragma once
#include "datasets/tokenizer/json_input.hpp"
#include "datasets/tokenizer/piece_tokenizer.hpp"

#include <memory>
#include <string>
#include <vector>

namespace isoflop {

std::string write_piece_json(const PieceModel& model, const std::vector<std::string>& merges);

bool has_pieces(const JsonInput& in);
std::unique_ptr<Tokenizer> read_piece_json(const JsonInput& in);

}  // namespace isoflop
