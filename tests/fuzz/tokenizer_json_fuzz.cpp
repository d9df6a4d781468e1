#include "datasets/tokenizer.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/use_tokenizer.hpp"

namespace isoflop::fuzz {
namespace {

std::vector<std::string> seeds() {
  return json_seeds();
}

void run(std::string_view bytes) {
  use_tokenizer(*Tokenizer::from_json(bytes, "fuzz"));
}

const Registered target(
    {"tokenizer_json",
     seeds,
     run,
     {"datasets/tokenizer/read_tokenizer_json.cpp", "datasets/tokenizer/json_input.cpp",
      "datasets/tokenizer/json_split_rule.cpp", "datasets/tokenizer/piece_json.cpp"}});

}  // namespace
}  // namespace isoflop::fuzz
