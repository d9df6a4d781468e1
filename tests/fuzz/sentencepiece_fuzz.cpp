#include "datasets/tokenizer/sentencepiece_file.hpp"
#include "tests/datasets/tokenizer/sentencepiece_bytes.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/use_tokenizer.hpp"

namespace isoflop::fuzz {
namespace {

std::vector<std::string> seeds() {
  std::vector<test::RawPiece> with_user = test::small_pieces();
  with_user.push_back({"bb", 0, 4});
  return {test::sentencepiece_bytes({.pieces = test::small_pieces()}),
          test::sentencepiece_bytes({.pieces = with_user, .collapse_spaces = false}),
          test::sentencepiece_bytes({.pieces = test::small_pieces(true), .byte_fallback = true})};
}

std::vector<std::string> refused() {
  const auto pieces = test::small_pieces();
  return {test::sentencepiece_bytes({.pieces = pieces, .model_type = 1}),
          test::sentencepiece_bytes({.pieces = pieces, .spaces_behind_words = true}),
          test::sentencepiece_bytes({.pieces = pieces, .character_map = "x"}),
          test::sentencepiece_bytes({.pieces = pieces, .escape_spaces = false}),
          test::sentencepiece_bytes({.pieces = pieces}) +
              test::bytes_field(5, test::bytes_field(2, "x")),  // a map back
          "\n\xff"};
}

void run(std::string_view bytes) {
  looks_like_sentencepiece(bytes);  // a guess, which may be wrong either way
  use_tokenizer(*read_sentencepiece(bytes, "fuzz"));
}

const Registered target(
    {"sentencepiece", seeds, run, {"datasets/tokenizer/sentencepiece_file.cpp"}, refused});

}  // namespace
}  // namespace isoflop::fuzz
