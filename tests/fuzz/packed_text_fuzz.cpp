// Text, plain and packed by gzip, zstd and xz.
#include "core/error.hpp"
#include "tests/datasets/pack.hpp"
#include "tests/fuzz/input_file.hpp"
#include "tests/fuzz/use_text.hpp"

namespace isoflop::fuzz {

std::vector<std::string> seeds() {
  std::string text;
  for (int i = 0; i < 100; ++i) text += "line " + std::to_string(i * i % 37) + "\n";
  text += "<|endoftext|>\nanother\n";
  const std::string half = text.substr(0, 300);
  return {text,
          test::gzip(text),
          test::gzip(half) + test::gzip(text),
          test::zstd(text),
          test::zstd(half) + test::zstd(text),
          test::xz(text),
          test::xz(half) + test::xz(text)};
}

}  // namespace isoflop::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace isoflop;
  try {
    fuzz::use_text(fuzz::input_file("fuzz.txt", fuzz::text_of(data, size)));
  } catch (const Error&) {
  }
  return 0;
}
