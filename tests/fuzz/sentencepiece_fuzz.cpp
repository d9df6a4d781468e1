#include "core/error.hpp"
#include "datasets/tokenizer/sentencepiece_file.hpp"
#include "tests/datasets/tokenizer/sentencepiece_bytes.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/use_tokenizer.hpp"

namespace isoflop::fuzz {

std::vector<std::string> seeds() {
  std::vector<test::RawPiece> with_user = test::small_pieces();
  with_user.push_back({"bb", 0, 4});
  return {test::sentencepiece_bytes({.pieces = test::small_pieces()}),
          test::sentencepiece_bytes({.pieces = with_user, .collapse_spaces = false}),
          test::sentencepiece_bytes({.pieces = test::small_pieces(true), .byte_fallback = true})};
}

}  // namespace isoflop::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace isoflop;
  try {
    fuzz::use_tokenizer(*read_sentencepiece(fuzz::text_of(data, size), "fuzz"));
  } catch (const Error&) {
  }
  return 0;
}
