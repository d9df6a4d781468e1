// JSON lines.
#include "core/error.hpp"
#include "tests/fuzz/input_file.hpp"
#include "tests/fuzz/use_text.hpp"

namespace isoflop::fuzz {

std::vector<std::string> seeds() {
  return {
      "{\"text\": \"one\\n<|endoftext|>\\ntwo\", \"id\": 1.5e3}\n",
      "\xEF\xBB\xBF{\"a\": {\"text\": [1, null, true]}, \"text\": \"\\ud83d\\ude00 \u00e9\"}\r\n\n"
      "{\"text\": \"  \"}\n{\"text\": \"last\"}"};
}

}  // namespace isoflop::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace isoflop;
  try {
    fuzz::use_text(fuzz::input_file("fuzz.jsonl", fuzz::text_of(data, size)));
  } catch (const Error&) {
  }
  return 0;
}
