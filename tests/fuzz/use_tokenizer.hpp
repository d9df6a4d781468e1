// What is done with a tokenizer that came out of hostile bytes, and tokenizers to start from.
#pragma once
#include "core/error.hpp"
#include "datasets/tokenizer.hpp"
#include "datasets/tokenizer/sentencepiece_file.hpp"
#include "datasets/tokenizer/trainer.hpp"
#include "tests/datasets/tokenizer/sentencepiece_bytes.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace isoflop::fuzz {

/// Writes it, reads it again, encodes and decodes.
inline void use_tokenizer(const Tokenizer& tokenizer) {
  const std::string json = tokenizer.to_json();
  const auto again = Tokenizer::from_json(json, "what we wrote");
  if (again->to_json() != json) found("a tokenizer changes when written and read");
  const std::string text =
      "  The 3rd  caf\u00e9 e\u0301 isn't\n\n \u4f60\u597d \U0001F600 <|endoftext|> <s>\xff\xc3 x";
  for (const bool special : {false, true}) {
    std::vector<int32_t> ids, same;
    try {
      tokenizer.encode(text, ids, special);
      again->encode(text, same, special);
    } catch (const Error&) {  // a character that it lacks, a pattern that gives up
      continue;
    }
    if (ids != same) found("a tokenizer encodes differently when written and read");
    for (const int32_t id : ids)
      if (id < 0 || id >= tokenizer.vocabulary()) found("an id outside the vocabulary");
    const std::string decoded = tokenizer.decode(ids);
    const TokenizerRules rules = tokenizer.rules();
    if (tokenizer.kind() != Tokenizer::Kind::sentencepiece && rules.normalizer.empty() &&
        !rules.space_prefix && !rules.lossy_bytes && !special && decoded != text)
      found("text does not come back");
  }
}

/// SentencePiece's, as tokenizer.json.
inline std::string piece_seed() {
  return read_sentencepiece(
             test::sentencepiece_bytes({.pieces = test::small_pieces(true), .byte_fallback = true}),
             "seed")
      ->to_json();
}

/// One of each kind and rule, as tokenizer.json.
inline std::vector<std::string> json_seeds() {
  using nlohmann::json;
  std::vector<std::string> seeds;
  const auto trained = [](Tokenizer::Kind kind) {
    TokenizerTrainer trainer({.kind = kind, .vocabulary = 270, .threads = 1});
    trainer.add("the theorem of the other 3rd mother\n\n");
    return trainer.finish()->to_json();
  };
  seeds.push_back(trained(Tokenizer::Kind::chars));
  seeds.push_back(trained(Tokenizer::Kind::bpe));
  json file = json::parse(seeds.back());
  file["normalizer"] = {{"type", "NFC"}};
  file["added_tokens"].push_back(
      {{"id", 270}, {"content", "  "}, {"special", false}, {"normalized", true}});
  seeds.push_back(file.dump());
  file["model"]["ignore_merges"] = true;
  file["pre_tokenizer"] = json::parse(R"({"type": "Sequence", "pretokenizers": [
      {"type": "Digits", "individual_digits": true},
      {"type": "Split", "pattern": {"Regex": "\\p{L}+|[^\\s\\u0041-\\u0045]{1,3}"},
       "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": true, "use_regex": true}]})");
  seeds.push_back(file.dump());
  seeds.push_back(piece_seed());
  return seeds;
}

}  // namespace isoflop::fuzz
