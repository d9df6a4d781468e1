// llm.c's .bin.
#include "tests/fuzz/input_file.hpp"
#include "tests/fuzz/use_tokens.hpp"

namespace isoflop::fuzz {
namespace {

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const auto& [magic, version, bytes] :
       {std::tuple(20240520u, 1u, 2u), std::tuple(20240801u, 7u, 4u)}) {
    std::string file(1024 + 10 * bytes, '\0');
    const auto put = [&](size_t at, uint32_t value, size_t width) {
      for (size_t i = 0; i < width; ++i) file[at + i] = static_cast<char>(value >> 8 * i);
    };
    put(0, magic, 4);
    put(4, version, 4);
    put(8, 10, 4);
    for (uint32_t i = 0; i < 10; ++i) put(1024 + i * bytes, i % 4 ? i : 50256, bytes);
    all.push_back(file);
  }
  return all;
}

void run(std::string_view bytes) {
  use_tokens(input_file("fuzz.bin", bytes));
}

const Registered target({"llmc_tokens", seeds, run, {"datasets/foreign_tokens.cpp"}});

}  // namespace
}  // namespace isoflop::fuzz
