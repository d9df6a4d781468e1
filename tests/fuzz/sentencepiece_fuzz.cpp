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

void run(std::string_view bytes) {
  use_tokenizer(*read_sentencepiece(bytes, "fuzz"));
}

const Registered target(
    {"sentencepiece", seeds, run, {"datasets/tokenizer/sentencepiece_file.cpp"}});

}  // namespace
}  // namespace isoflop::fuzz
