#include "core/error.hpp"
#include "datasets/tokenizer.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/use_tokenizer.hpp"

namespace isoflop::fuzz {

std::vector<std::string> seeds() {
  return json_seeds();
}

}  // namespace isoflop::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace isoflop;
  try {
    fuzz::use_tokenizer(*Tokenizer::from_json(fuzz::text_of(data, size), "fuzz"));
  } catch (const Error&) {
  }
  return 0;
}
