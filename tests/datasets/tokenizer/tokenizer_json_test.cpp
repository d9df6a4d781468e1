#include "core/error.hpp"
#include "core/file.hpp"
#include "datasets/tokenizer/make_tokenizer.hpp"
#include "tests/datasets/tokenizer/tokenizer_fixtures.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <functional>

namespace isoflop {
namespace {

using nlohmann::json;
using test::encode;
using test::train;
using Kind = Tokenizer::Kind;
using Texts = std::vector<std::string>;

TEST(TokenizerJson, WhatIsWrittenIsReadAsTheSame) {
  for (const Kind kind : {Kind::bytes, Kind::chars, Kind::bpe})
    for (const Texts& specials :
         {Texts{}, Texts{"<|endoftext|>"}, Texts{"<s>", "</s>", "with space"}}) {
      const auto tokenizer =
          train({.kind = kind, .vocabulary = 400, .special_tokens = specials}, test::mixed_text());
      const auto back = Tokenizer::from_json(tokenizer->to_json(), "text");
      EXPECT_EQ(back->to_json(), tokenizer->to_json());
      EXPECT_EQ(back->hash(), tokenizer->hash());
      EXPECT_EQ(back->kind(), kind);
      EXPECT_EQ(back->separator(), specials.empty() ? -1 : 0);
      EXPECT_EQ(encode(*back, test::mixed_text()), encode(*tokenizer, test::mixed_text()));
    }
}

TEST(TokenizerJson, ReadsTheFileItWasWrittenTo) {
  const test::TempDir folder;
  const auto tokenizer = train({.vocabulary = 400}, test::mixed_text());
  write_file_atomically(folder.path() / "tokenizer.json", tokenizer->to_json());
  EXPECT_EQ(Tokenizer::load(folder.path())->hash(), tokenizer->hash());
  EXPECT_EQ(Tokenizer::load(folder.path() / "tokenizer.json")->hash(), tokenizer->hash());
  EXPECT_THROW(Tokenizer::load(folder.path() / "other.json"), UserError);
  fs::remove(folder.path() / "tokenizer.json");
  EXPECT_THROW(Tokenizer::load(folder.path()), UserError);
}

TEST(TokenizerJson, AcceptsMergesAsPairsAndAFileWithoutType) {
  const auto tokenizer = train({.vocabulary = 400}, test::mixed_text());
  json file = json::parse(tokenizer->to_json());
  file["model"].erase("type");
  file["model"].erase("ignore_merges");
  file["model"]["continuing_subword_prefix"] = "";
  file["pre_tokenizer"].erase("use_regex");
  for (json& merge : file["model"]["merges"]) {
    const std::string text = merge;
    merge = json::array({text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)});
  }
  EXPECT_EQ(Tokenizer::from_json(file.dump(), "text")->hash(), tokenizer->hash());
}

/// Message of the error that reading `text` gives; it must be of the type E exactly.
template <class E>
std::string error_of(const std::string& text) {
  try {
    Tokenizer::from_json(text, "some.json");
  } catch (const Error& error) {
    EXPECT_EQ(typeid(error), typeid(E)) << error.what();
    EXPECT_EQ(std::string(error.what()).substr(0, 10), "some.json:") << error.what();
    return error.what();
  }
  ADD_FAILURE() << "accepted: " << text.substr(0, 300);
  return "";
}

class DamagedJson : public testing::Test {
 protected:
  /// The message after `change` was made to a good file.
  template <class E>
  std::string after(const std::function<void(json&)>& change) const {
    json file = good_;
    change(file);
    return error_of<E>(file.dump());
  }
  const json good_ = json::parse(train({.vocabulary = 300}, test::mixed_text())->to_json());
};

TEST_F(DamagedJson, WrongTypesAndValuesNameTheField) {
  const struct {
    const char* field;
    std::function<void(json&)> change;
  } cases[] = {
      {"model:", [](json& f) { f.erase("model"); }},
      {"model:", [](json& f) { f["model"] = 3; }},
      {"model.type", [](json& f) { f["model"]["type"] = 3; }},
      {"model.vocab", [](json& f) { f["model"].erase("vocab"); }},
      {"model.vocab", [](json& f) { f["model"]["vocab"] = json::array(); }},
      {"model.vocab[\"th\"]", [](json& f) { f["model"]["vocab"]["th"] = "x"; }},
      {"model.vocab[\"th\"]", [](json& f) { f["model"]["vocab"]["th"] = -1; }},
      {"model.vocab[\"th\"]", [](json& f) { f["model"]["vocab"]["th"] = 1.5; }},
      {"model.vocab[\"th\"]", [](json& f) { f["model"]["vocab"]["th"] = 4000000000u; }},
      {"id 7", [](json& f) { f["model"]["vocab"]["zzz"] = 7; }},
      {"no token has id 2", [](json& f) { f["model"]["vocab"]["\""] = 300; }},
      {"empty token", [](json& f) { f["model"]["vocab"][""] = 300; }},
      {"stands for no byte", [](json& f) { f["model"]["vocab"]["a b"] = 300; }},
      {"model.merges", [](json& f) { f["model"].erase("merges"); }},
      {"model.merges[1]", [](json& f) { f["model"]["merges"][1] = 5; }},
      {"model.merges[1]", [](json& f) { f["model"]["merges"][1] = json::array({"a"}); }},
      {"model.merges[1]",
       [](json& f) {
         f["model"]["merges"][1] = json::array({"a", 1});
       }},
      {"merge 1", [](json& f) { f["model"]["merges"][1] = "abc"; }},
      {"merge 1", [](json& f) { f["model"]["merges"][1] = "a b c"; }},
      {"merge 1", [](json& f) { f["model"]["merges"][1] = "zzz a"; }},
      {"merge 1", [](json& f) { f["model"]["merges"][1] = "Q Z"; }},
      {"merge 1", [](json& f) { f["model"]["merges"][1] = f["model"]["merges"][0]; }},
      {"added_tokens", [](json& f) { f["added_tokens"] = 1; }},
      {"added_tokens[0]", [](json& f) { f["added_tokens"][0] = 1; }},
      {"added_tokens[0].id", [](json& f) { f["added_tokens"][0]["id"] = "0"; }},
      {"added_tokens[0].id", [](json& f) { f["added_tokens"][0]["id"] = 5000; }},
      {"added_tokens[0].content", [](json& f) { f["added_tokens"][0]["content"] = 0; }},
      {"added_tokens[0].content", [](json& f) { f["added_tokens"][0]["content"] = ""; }},
      {"added_tokens[0].special", [](json& f) { f["added_tokens"][0]["special"] = 1; }},
      {"added_tokens[0]", [](json& f) { f["added_tokens"][0]["id"] = 3; }},
      {"listed twice", [](json& f) { f["added_tokens"].push_back(f["added_tokens"][0]); }},
      {"pre_tokenizer", [](json& f) { f["pre_tokenizer"] = "ByteLevel"; }},
      {"pre_tokenizer.type", [](json& f) { f["pre_tokenizer"].erase("type"); }},
      {"pre_tokenizer.use_regex", [](json& f) { f["pre_tokenizer"]["use_regex"] = "yes"; }},
  };
  for (const auto& [field, change] : cases)
    EXPECT_NE(after<FormatError>(change).find(field), std::string::npos)
        << field << " is not named by: " << after<FormatError>(change);
}

TEST_F(DamagedJson, WhatWeDoNotSupportIsNamed) {
  const struct {
    const char* part;
    std::function<void(json&)> change;
  } cases[] = {
      {"Unigram", [](json& f) { f["model"]["type"] = "Unigram"; }},
      {"NFC",
       [](json& f) {
         f["normalizer"] = {{"type", "NFC"}};
       }},
      {"pre_tokenizer \"Sequence\"",
       [](json& f) {
         f["pre_tokenizer"] = {{"type", "Sequence"}};
       }},
      {"add_prefix_space", [](json& f) { f["pre_tokenizer"]["add_prefix_space"] = true; }},
      {"use_regex", [](json& f) { f["pre_tokenizer"]["use_regex"] = false; }},
      {"decoder \"Fuse\"",
       [](json& f) {
         f["decoder"] = {{"type", "Fuse"}};
       }},
      {"without pre_tokenizer", [](json& f) { f["pre_tokenizer"] = nullptr; }},
      {"model.dropout", [](json& f) { f["model"]["dropout"] = 0.1; }},
      {"model.byte_fallback", [](json& f) { f["model"]["byte_fallback"] = true; }},
      {"model.ignore_merges", [](json& f) { f["model"]["ignore_merges"] = true; }},
      {"model.end_of_word_suffix", [](json& f) { f["model"]["end_of_word_suffix"] = "</w>"; }},
      {"added_tokens[0]", [](json& f) { f["added_tokens"][0]["special"] = false; }},
      {"added_tokens[0].lstrip", [](json& f) { f["added_tokens"][0]["lstrip"] = true; }},
  };
  for (const auto& [part, change] : cases)
    EXPECT_NE(after<UserError>(change).find(part), std::string::npos)
        << part << " is not named by: " << after<UserError>(change);
}

TEST_F(DamagedJson, TextThatIsNotJson) {
  const std::string good = good_.dump();
  error_of<FormatError>("");
  error_of<FormatError>("[1, 2]");
  error_of<FormatError>("{\"a\": \"\xff\"}");
  error_of<FormatError>(std::string(100'000, '['));
  error_of<FormatError>("{\"model\": 1e999}");
  for (size_t size = 0; size < good.size(); size += 97) error_of<FormatError>(good.substr(0, size));
  EXPECT_NE(error_of<FormatError>("{\"model\": \xff}").find("byte 11"), std::string::npos);
}

TEST(MakeTokenizer, ByPartsAsAGgufFileHoldsThem) {
  const auto tokenizer = train({.vocabulary = 400}, test::mixed_text());
  Texts texts;
  for (int32_t id = 0; id < tokenizer->vocabulary(); ++id)
    texts.push_back(tokenizer->token_text(id));
  const int last = tokenizer->vocabulary();
  texts.push_back("<|im_end|>");
  const auto made = make_bpe_tokenizer(texts, tokenizer->merges(), {0, last}, last);
  EXPECT_EQ(made->separator(), last);
  EXPECT_EQ(made->vocabulary(), last + 1);
  EXPECT_EQ(encode(*made, test::mixed_text()), encode(*tokenizer, test::mixed_text()));
  EXPECT_EQ(Tokenizer::from_json(made->to_json(), "text")->separator(), last);

  texts[5] = texts[6];
  EXPECT_THROW(make_bpe_tokenizer(texts, {}, {0}, 0), FormatError);
  texts[5] = "";
  EXPECT_THROW(make_bpe_tokenizer(texts, {}, {0}, 0), FormatError);
  EXPECT_THROW(make_bpe_tokenizer({}, {}, {}, -1), FormatError);
  EXPECT_THROW(make_bpe_tokenizer({"a", "b"}, {}, {2}, -1), FormatError);
  EXPECT_THROW(make_bpe_tokenizer({"a", "b"}, {}, {-1}, -1), FormatError);
  EXPECT_THROW(make_bpe_tokenizer({"a", "b"}, {}, {1}, 0), FormatError);
  EXPECT_THROW(make_bpe_tokenizer({"a", "bc"}, {}, {}, -1), FormatError);
}

TEST(MakeTokenizer, CharactersAreRecognizedByTheirParts) {
  const auto tokenizer = train({.kind = Kind::chars}, test::mixed_text());
  Texts texts;
  for (int32_t id = 0; id < tokenizer->vocabulary(); ++id)
    texts.push_back(tokenizer->token_text(id));
  const auto made = make_bpe_tokenizer(texts, tokenizer->merges(), {}, -1);
  EXPECT_EQ(made->kind(), Kind::chars);
  EXPECT_EQ(made->hash(), tokenizer->hash());
}

}  // namespace
}  // namespace isoflop
