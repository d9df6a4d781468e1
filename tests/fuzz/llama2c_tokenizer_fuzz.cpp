#include "datasets/tokenizer/llama2c_file.hpp"
#include "tests/datasets/tokenizer/sentencepiece_bytes.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/use_tokenizer.hpp"

namespace isoflop::fuzz {
namespace {

std::vector<std::string> seeds() {
  return {test::llama2c_bytes(test::small_pieces()), test::llama2c_bytes(test::small_pieces(true))};
}

std::vector<std::string> refused() {
  return {"abc", test::raw(int32_t{4})};  // no token at all
}

void run(std::string_view bytes) {
  looks_like_llama2c(bytes);  // a guess, which may be wrong either way
  use_tokenizer(*read_llama2c(bytes, "fuzz"));
}

const Registered target(
    {"llama2c_tokenizer", seeds, run, {"datasets/tokenizer/llama2c_file.cpp"}, refused});

}  // namespace
}  // namespace isoflop::fuzz
