#include "core/error.hpp"
#include "datasets/tokenizer/llama2c_file.hpp"
#include "tests/datasets/tokenizer/sentencepiece_bytes.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/use_tokenizer.hpp"

namespace isoflop::fuzz {

std::vector<std::string> seeds() {
  return {test::llama2c_bytes(test::small_pieces()), test::llama2c_bytes(test::small_pieces(true))};
}

}  // namespace isoflop::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace isoflop;
  try {
    fuzz::use_tokenizer(*read_llama2c(fuzz::text_of(data, size), "fuzz"));
  } catch (const Error&) {
  }
  return 0;
}
