#include "formats/llama2c.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/input_file.hpp"

#include <cstring>

namespace isoflop::fuzz {
namespace {

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const int32_t rows : {4, -4}) {
    const int32_t header[7] = {8, 4, 2, 2, 1, rows, 3};
    const size_t floats = 4 * 8 + 2 * (8 + 64 + 32 + 32 + 64 + 8 + 3 * 32) + 8 + 3 * 4;
    std::string bytes(28 + 4 * (floats + (rows < 0 ? 32 : 0)), '\0');
    std::memcpy(bytes.data(), header, sizeof(header));
    all.push_back(bytes);
    const int32_t front[9] = {0x616b3432, 1, 8, 4, 2, 2, 1, 4, 3};
    std::string newer(256 + 4 * (floats - 12 + (rows < 0 ? 32 : 0)), '\0');
    std::memcpy(newer.data(), front, sizeof(front));
    newer[36] = rows > 0;
    all.push_back(newer);
  }
  return all;
}

void run(std::string_view input) {
  using T = Llama2cTensor;
  const std::string path = input_file("fuzz.bin", input);
  const bool looks_right = Llama2cFile::looks_like_llama2c(path);
  const Llama2cFile file(bytes_of(input), "fuzz");
  if (!looks_right) found("a llama2.c file that does not look like one");
  const auto read = [&](T kind, int64_t layer) {
    const auto bytes = file.tensor(kind, layer);
    const auto all = bytes_of(input);
    if (bytes.data() < all.data() || bytes.data() + bytes.size() > all.data() + all.size())
      found("a tensor outside the file");
  };
  for (const T kind : {T::norm1, T::q, T::k, T::v, T::out, T::norm2, T::gate, T::down, T::up})
    for (int64_t layer = 0; layer < file.layers; ++layer) read(kind, layer);
  for (const T kind : {T::embedding, T::norm}) read(kind, 0);
  if (!file.shared_head) read(T::head, 0);
}

const Registered target({"llama2c", seeds, run, {"formats/llama2c.cpp"}});

}  // namespace
}  // namespace isoflop::fuzz
