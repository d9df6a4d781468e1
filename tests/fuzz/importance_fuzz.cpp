// Importance matrices in both forms.
#include "export/importance.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/input_file.hpp"

#include <cmath>
#include <cstring>

namespace isoflop::fuzz {
namespace {

ImportanceMatrix matrix() {
  ImportanceMatrix m;
  m.texts = {"a.txt"};
  m.chunks = 2;
  m.chunk_tokens = 16;
  m.inputs["blk.0.ffn_up.weight"] = {{1, 2, 3}, 32};
  m.inputs["blk.0.ffn_down.weight"] = {{0.5f, 0}, 0};
  return m;
}

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const char* name : {"seed.gguf", "seed.dat"}) {
    const std::string path = input_file(name, "");
    write_importance(matrix(), path);
    all.push_back(read_file(path));
  }
  const std::string& dat = all.back();
  all.push_back(dat.substr(0, dat.size() - 4 - 4 - 5));  // as early files end
  return all;
}

std::vector<std::string> refused() {
  const std::string dat = seeds()[1];
  std::string none = dat, many = dat, negative = dat, twice = dat, not_a_number = dat;
  const auto put = [](std::string& bytes, size_t at, auto value) {
    std::memcpy(bytes.data() + at, &value, sizeof(value));
  };
  put(none, 0, int32_t{0});
  put(many, 0, int32_t{3});
  put(negative, 4, int32_t{-1});
  put(not_a_number, 4 + 4 + 21 + 8, std::nanf(""));
  return {none, many, negative, not_a_number, dat.substr(0, dat.size() - 3), ""};
}

void run(std::string_view bytes) {
  const ImportanceMatrix read = read_importance(input_file("fuzz", bytes));
  if (read.inputs.empty()) found("a matrix of nothing");
  for (const auto& [name, inputs] : read.inputs)
    for (const float mean : read.of(name, static_cast<int64_t>(inputs.sums.size())))
      if (!(mean >= 0)) found("a mean square below zero");
}

const Registered target(
    {"importance", seeds, run, {"export/importance.cpp", "export/importance_dat.cpp"}, refused});

}  // namespace
}  // namespace isoflop::fuzz
