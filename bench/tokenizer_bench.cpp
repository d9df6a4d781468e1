// Speed of tokenizers on one thread.
//
//   bench_tokenizer encode TOKENIZER FILE   every document of FILE (separated by zero bytes)
//   bench_tokenizer train VOCABULARY FILE   byte-level BPE from FILE as one text, on all cores
//
// The last line is RESULT and a JSON object; `checksum` lets another program show that it found the
// same ids (bench/peers/hf_tokenizers.py).
#include "core/error.hpp"
#include "core/file.hpp"
#include "datasets/tokenizer.hpp"
#include "datasets/tokenizer/trainer.hpp"

#include <fmt/core.h>

#include <chrono>
#include <cstdlib>
#include <string_view>

namespace isoflop {

namespace {

class Clock {
 public:
  double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

void encode(const char* tokenizer_file, const char* file) {
  const auto tokenizer = Tokenizer::load(tokenizer_file);
  const std::string text = read_file(file);
  uint64_t tokens = 0, checksum = 0;
  std::vector<int32_t> ids;
  const Clock clock;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t end = std::min(rest.find('\0'), rest.size());
    ids.clear();
    tokenizer->encode(rest.substr(0, end), ids);
    tokens += ids.size();
    for (const int32_t id : ids) checksum = checksum * 31 + static_cast<uint64_t>(id);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  const double seconds = clock.seconds();
  fmt::print("RESULT {{\"mb_per_s\": {:.2f}, \"tokens\": {}, \"checksum\": {}}}\n",
             static_cast<double>(text.size()) / 1e6 / seconds, tokens, checksum);
}

void train(const char* vocabulary, const char* file) {
  const std::string text = read_file(file);
  const Clock clock;
  TokenizerTrainer trainer({.vocabulary = std::atoi(vocabulary)});
  trainer.add(text);
  const auto tokenizer = trainer.finish();
  fmt::print("RESULT {{\"seconds\": {:.2f}, \"megabytes\": {:.1f}, \"vocabulary\": {}}}\n",
             clock.seconds(), static_cast<double>(text.size()) / 1e6, tokenizer->vocabulary());
}

}  // namespace

}  // namespace isoflop

int main(int argc, char** argv) {
  const std::string_view verb = argc == 4 ? argv[1] : "";
  try {
    if (verb == "encode") return isoflop::encode(argv[2], argv[3]), 0;
    if (verb == "train") return isoflop::train(argv[2], argv[3]), 0;
  } catch (const isoflop::Error& error) {
    fmt::print(stderr, "bench_tokenizer: {}\n", error.what());
    return static_cast<int>(error.code());
  }
  fmt::print(stderr, "bench_tokenizer encode TOKENIZER FILE | train VOCABULARY FILE\n");
  return 2;
}
