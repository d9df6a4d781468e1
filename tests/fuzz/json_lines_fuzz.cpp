// JSON lines.
#include "tests/fuzz/input_file.hpp"
#include "tests/fuzz/use_text.hpp"

namespace isoflop::fuzz {
namespace {

std::vector<std::string> seeds() {
  return {
      "{\"text\": \"one\\n<|endoftext|>\\ntwo\", \"id\": 1.5e3}\n",
      "\xEF\xBB\xBF{\"a\": {\"text\": [1, null, true]}, \"text\": \"\\ud83d\\ude00 \u00e9\"}\r\n\n"
      "{\"text\": \"  \"}\n{\"text\": \"last\"}"};
}

void run(std::string_view bytes) {
  use_text(input_file("fuzz.jsonl", bytes));
}

const Registered target(
    {"json_lines", seeds, run, {"datasets/json_lines.cpp", "datasets/text_reader.cpp"}});

}  // namespace
}  // namespace isoflop::fuzz
