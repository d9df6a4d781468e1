#include "datasets/tokenizer/llama2c_file.hpp"
#include "tests/datasets/tokenizer/sentencepiece_bytes.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/use_tokenizer.hpp"

namespace isoflop::fuzz {
namespace {

std::vector<std::string> seeds() {
  return {test::llama2c_bytes(test::small_pieces()), test::llama2c_bytes(test::small_pieces(true))};
}

void run(std::string_view bytes) {
  use_tokenizer(*read_llama2c(bytes, "fuzz"));
}

const Registered target({"llama2c_tokenizer", seeds, run, {"datasets/tokenizer/llama2c_file.cpp"}});

}  // namespace
}  // namespace isoflop::fuzz
