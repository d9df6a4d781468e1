// Megatron-LM's .idx; the .bin beside it has as many bytes as the input's first byte says.
#include "tests/fuzz/input_file.hpp"
#include "tests/fuzz/use_tokens.hpp"

namespace isoflop::fuzz {
namespace {

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const auto& [code, width] :
       {std::pair('\x08', 2), std::pair('\x04', 4), std::pair('\x05', 8)}) {
    std::string index("MMIDIDX\0\0", 9);
    const auto put = [&](int64_t value, int bytes) {
      for (int i = 0; i < bytes; ++i) index += static_cast<char>(value >> 8 * i);
    };
    put(1, 8);
    index += code;
    put(3, 8);  // sequences of 3, 2 and 4 tokens
    put(3, 8);  // documents of two and of one sequence
    for (const int n : {3, 2, 4}) put(n, 4);
    for (const int n : {0, 3, 5}) put(n * width, 8);
    for (const int n : {0, 2, 3}) put(n, 8);
    all.push_back(std::string(1, static_cast<char>(9 * width)) + index);
  }
  return all;
}

void run(std::string_view bytes) {
  if (bytes.empty()) return;
  input_file("fuzz.bin", std::string(static_cast<unsigned char>(bytes[0]), '\0'));
  use_tokens(input_file("fuzz.idx", bytes.substr(1)));
}

const Registered target({"megatron_tokens", seeds, run, {"datasets/foreign_tokens.cpp"}});

}  // namespace
}  // namespace isoflop::fuzz
