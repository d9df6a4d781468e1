// The tokenizer keys of a GGUF file; the container itself has a target of its own.
#include "core/file.hpp"
#include "datasets/tokenizer/gguf_keys.hpp"
#include "datasets/tokenizer/gguf_tokenizer.hpp"
#include "tests/datasets/tokenizer/sentencepiece_bytes.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/input_file.hpp"
#include "tests/fuzz/use_tokenizer.hpp"

namespace isoflop::fuzz {
namespace {

struct Wrong {
  bool space_prefix = false, byte_token = false, few_types = false, few_scores = false;
};

std::string gguf_bytes(const Tokenizer& tokenizer,
                       std::string_view model,
                       std::string_view rule,
                       const Wrong& wrong = {}) {
  const fs::path path = input_file("seed.gguf", "");
  GgufWriter writer(path);
  writer.put_text(gguf::kTokenizerModel, model);
  writer.put_text(gguf::kSplitting, rule);
  std::vector<std::string> texts;
  std::vector<int32_t> types;
  std::vector<float> scores;
  for (int32_t id = 0; id < tokenizer.vocabulary(); ++id) {
    texts.push_back(tokenizer.token_text(id));
    types.push_back(static_cast<int32_t>(tokenizer.type(id)) + 1);
    scores.push_back(tokenizer.score(id));
  }
  if (wrong.byte_token) types.back() = 6;
  if (wrong.few_types) types.pop_back();
  if (wrong.few_scores) scores.pop_back();
  if (wrong.space_prefix) writer.put_boolean(gguf::kSpacePrefix, true);
  writer.put_texts(gguf::kTokens, texts);
  writer.put_i32s(gguf::kTokenTypes, types);
  writer.put_f32s(gguf::kScores, scores);
  writer.put_texts(gguf::kMerges, tokenizer.merges());
  writer.put_u32(gguf::kEosId, static_cast<uint32_t>(tokenizer.separator()));
  writer.finish();
  return read_file(path);
}

std::vector<std::string> seeds() {
  const auto pieces = Tokenizer::from_json(piece_seed(), "seed");
  std::vector<std::string> seeds = {gguf_bytes(*pieces, gguf::kPieceModel, "default")};
  const auto bytes = Tokenizer::from_json(json_seeds()[1], "seed");
  for (const char* rule : {"gpt-2", "llama-bpe", "qwen2", "smollm"})
    seeds.push_back(gguf_bytes(*bytes, gguf::kByteLevelModel, rule));
  return seeds;
}

std::vector<std::string> refused() {
  const auto bytes = Tokenizer::from_json(json_seeds()[1], "seed");
  const auto pieces = Tokenizer::from_json(piece_seed(), "seed");
  const auto byte_level = [&](const char* rule, const Wrong& wrong) {
    return gguf_bytes(*bytes, gguf::kByteLevelModel, rule, wrong);
  };
  return {byte_level("another", {}),
          byte_level("gpt-2", {.space_prefix = true}),
          byte_level("gpt-2", {.byte_token = true}),
          byte_level("gpt-2", {.few_types = true}),
          gguf_bytes(*bytes, "another", "gpt-2"),
          gguf_bytes(*pieces, gguf::kPieceModel, "default", {.few_scores = true})};
}

void run(std::string_view bytes) {
  const GgufFile file(bytes_of(bytes), "fuzz");
  use_tokenizer(*read_gguf_tokenizer(file));
}

const Registered target(
    {"gguf_tokenizer", seeds, run, {"datasets/tokenizer/gguf_tokenizer.cpp"}, refused});

}  // namespace
}  // namespace isoflop::fuzz
