// Text, plain and packed by gzip, zstd and xz.
#include "tests/datasets/pack.hpp"
#include "tests/fuzz/input_file.hpp"
#include "tests/fuzz/use_text.hpp"

namespace isoflop::fuzz {
namespace {

std::vector<std::string> seeds() {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "line " + std::to_string(i * i % 37) + "\n";
  text += "<|endoftext|>\nanother\n";
  const std::string half = text.substr(0, 300);
  // Long documents are read in pieces: with blanks to cut at, and with line ends only.
  constexpr size_t kLong = 300 << 10;
  std::string words, lines = "\u00e9\n";
  while (words.size() < kLong) words += "a word and ";
  while (lines.size() < kLong) lines += "1,2\u3000\n3";
  return {text,
          test::zstd(words),
          test::zstd(lines),
          test::gzip(text),
          test::gzip(half) + test::gzip(text),
          test::zstd(text),
          test::zstd(half) + test::zstd(text),
          test::xz(text),
          test::xz(half) + test::xz(text)};
}

void run(std::string_view bytes) {
  use_text(input_file("fuzz.txt", bytes));
}

const Registered target({"packed_text",
                         seeds,
                         run,
                         {"datasets/text_input.cpp", "datasets/unpackers.cpp",
                          "datasets/text_reader.cpp"}});

}  // namespace
}  // namespace isoflop::fuzz
