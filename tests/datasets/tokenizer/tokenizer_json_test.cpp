#include "core/error.hpp"
#include "core/file.hpp"
#include "datasets/tokenizer/byte_text.hpp"
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

json sequence(const std::string& steps) {
  return json::parse(R"({"type": "Sequence", "pretokenizers": [)" + steps +
                     R"(, {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})");
}

std::string split_by(SplitStep::Kind kind) {
  return json{{"type", "Split"},
              {"pattern", {{"Regex", pattern_of(kind)}}},
              {"behavior", "Isolated"},
              {"invert", false}}
      .dump();
}

TEST(TokenizerJson, SplittingRulesOfOtherFiles) {
  using Step = SplitStep::Kind;
  const auto tokenizer = train({.vocabulary = 400}, test::mixed_text());
  const struct {
    const char* name;
    json pre_tokenizer;
  } cases[] = {
      {"gpt-2", json::parse(R"({"type": "ByteLevel", "add_prefix_space": false})")},
      {"gpt-2", sequence(split_by(Step::gpt2))},
      {"llama-bpe", sequence(split_by(Step::llama3))},
      {"qwen2", sequence(split_by(Step::qwen2))},
      {"smollm", json::parse(R"({"type": "Sequence", "pretokenizers": [
           {"type": "Digits", "individual_digits": true},
           {"type": "ByteLevel", "add_prefix_space": false, "use_regex": true}]})")},
      {"own", json::parse(R"({"type": "ByteLevel", "add_prefix_space": true})")},
      {"own",
       json::parse(R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})")},
      {"own", sequence(R"({"type": "Digits", "individual_digits": false})")},
      {"own",
       sequence(R"({"type": "Split", "pattern": {"String": "th"}, "behavior": "Isolated"})")},
      {"own",
       sequence(R"({"type": "Split", "pattern": {"Regex": "\\p{L}{2}"}, "behavior": "Isolated"})")},
  };
  for (const auto& [name, pre_tokenizer] : cases) {
    json file = json::parse(tokenizer->to_json());
    file["pre_tokenizer"] = pre_tokenizer;
    const auto read = Tokenizer::from_json(file.dump(), "text");
    EXPECT_EQ(read->rules().split, name) << pre_tokenizer;
    const auto again = Tokenizer::from_json(read->to_json(), "text");
    EXPECT_EQ(again->to_json(), read->to_json());
    EXPECT_EQ(encode(*again, test::mixed_text()), encode(*read, test::mixed_text()));
    const std::string prefix = read->rules().space_prefix ? " " : "";
    EXPECT_EQ(read->decode(encode(*read, "the cafe")), prefix + "the cafe");
    EXPECT_EQ(read->hash() == tokenizer->hash(), name == std::string("gpt-2"));
  }
}

TEST(TokenizerJson, AddedTokensAndNormalizerTravel) {
  json file = json::parse(train({.vocabulary = 300}, test::mixed_text())->to_json());
  const auto add = [&](const char* text, json flags) {
    flags["id"] = 299 + file["added_tokens"].size();
    flags["content"] = text;
    file["added_tokens"].push_back(flags);
  };
  add("  ", {{"special", false}, {"normalized", true}});
  add("<l>", {{"special", true}, {"lstrip", true}});
  add("<r>", {{"special", true}, {"rstrip", true}});
  add("\u00e9!", {{"special", false}, {"normalized", true}});
  file["normalizer"] = {{"type", "NFC"}};
  const auto tokenizer = Tokenizer::from_json(file.dump(), "text");
  EXPECT_EQ(tokenizer->vocabulary(), 304);
  EXPECT_EQ(tokenizer->type(300), TokenType::user);
  EXPECT_FALSE(tokenizer->is_special(300));
  EXPECT_EQ(tokenizer->type(301), TokenType::control);
  EXPECT_EQ(tokenizer->rules().normalizer, "NFC");
  EXPECT_EQ(encode(*tokenizer, "  e\u0301!"), (test::Ids{300, 303}));
  EXPECT_EQ(encode(*tokenizer, " <l><r> ", test::Specials::found), (test::Ids{301, 302}));
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, "e\u0301 a <l>")), "\u00e9 a <l>");
  const auto again = Tokenizer::from_json(tokenizer->to_json(), "text");
  EXPECT_EQ(again->to_json(), tokenizer->to_json());
  EXPECT_EQ(encode(*again, "  e\u0301!"), (test::Ids{300, 303}));
}

TEST(TokenizerJson, PiecesThatAreTokensSkipTheMergesWhereAsked) {
  json file = json::parse(train({.vocabulary = 300}, test::mixed_text())->to_json());
  file["model"]["vocab"]["qzq"] = 300;  // no merge makes it
  const auto merged = Tokenizer::from_json(file.dump(), "text");
  EXPECT_EQ(encode(*merged, "qzq").size(), 3u);
  file["model"]["ignore_merges"] = true;
  const auto whole = Tokenizer::from_json(file.dump(), "text");
  EXPECT_EQ(encode(*whole, "qzq"), (test::Ids{300}));
  EXPECT_TRUE(Tokenizer::from_json(whole->to_json(), "text")->rules().ignore_merges);
}

TEST(TokenizerJson, TheSeparatorIsNoStartOfText) {
  json file = json::parse(
      train({.vocabulary = 400, .special_tokens = Texts{"<|begin_of_text|>", "<|end_of_text|>"}},
            test::mixed_text())
          ->to_json());
  EXPECT_EQ(file["model"]["isoflop"]["separator"], 0);  // it was asked for
  EXPECT_EQ(Tokenizer::from_json(file.dump(), "text")->separator(), 0);
  file["model"].erase("isoflop");
  EXPECT_EQ(Tokenizer::from_json(file.dump(), "text")->separator(), 1);
  file["added_tokens"].erase(1);
  EXPECT_EQ(Tokenizer::from_json(file.dump(), "text")->separator(), 0);
}

TEST(TokenizerJson, BytesThatUtf8DoesNotUseMayLackATokenAndBecomeTheReplacementCharacter) {
  TokenizerParts parts;
  for (int byte = 0; byte < 256; ++byte)
    if (byte < 0xF5 && byte != 0xC0 && byte != 0xC1)
      parts.token_texts.push_back(to_printable(std::string(1, static_cast<char>(byte))));
  const auto tokenizer = make_tokenizer(parts, "parts");
  EXPECT_TRUE(tokenizer->rules().lossy_bytes);
  EXPECT_EQ(tokenizer->decode(encode(*tokenizer, "a\xff\xc0z\xe9")), "a\ufffd\ufffdz\xe9");
  parts.token_texts.erase(parts.token_texts.begin() + 4);  // a control character is passed over
  EXPECT_EQ(make_tokenizer(parts, "parts")->vocabulary(), 242);
  const auto passing = make_tokenizer(parts, "parts");
  EXPECT_EQ(passing->decode(encode(*passing, "a\x04z")), "az");
  parts.token_texts.push_back("<unk>");
  parts.added = {{.id = 242}};
  parts.unknown = 242;
  const auto replacing = make_tokenizer(parts, "parts");
  EXPECT_EQ(replacing->decode(encode(*replacing, "a\x04z")), "a<unk>z");
  EXPECT_EQ(Tokenizer::from_json(replacing->to_json(), "text")->to_json(), replacing->to_json());
  parts.token_texts[100] = "aa";
  EXPECT_THROW(make_tokenizer(parts, "parts"), FormatError);
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
      {"NFKC",
       [](json& f) {
         f["normalizer"] = {{"type", "NFKC"}};
       }},
      {"normalizers[0] \"Lowercase\"",
       [](json& f) {
         f["normalizer"] =
             json::parse(R"({"type": "Sequence", "normalizers": [{"type": "Lowercase"}]})");
       }},
      {"pre_tokenizer with 0 steps",
       [](json& f) {
         f["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", json::array()}};
       }},
      {"pre_tokenizer \"Metaspace\"",
       [](json& f) {
         f["pre_tokenizer"] = {{"type", "Metaspace"}};
       }},
      {"decoder \"Fuse\"",
       [](json& f) {
         f["decoder"] = {{"type", "Fuse"}};
       }},
      {"without pre_tokenizer", [](json& f) { f["pre_tokenizer"] = nullptr; }},
      {"model.dropout", [](json& f) { f["model"]["dropout"] = 0.1; }},
      {"model.byte_fallback", [](json& f) { f["model"]["byte_fallback"] = true; }},
      {"model.end_of_word_suffix", [](json& f) { f["model"]["end_of_word_suffix"] = "</w>"; }},
      {"added_tokens[0].single_word", [](json& f) { f["added_tokens"][0]["single_word"] = true; }},
      {"1025 bytes",
       [](json& f) {
         f["added_tokens"].push_back(
             {{"id", 300}, {"content", std::string(1025, 'x')}, {"special", true}});
       }},
      {"behavior \"Removed\"",
       [](json& f) {
         f["pre_tokenizer"] = json::parse(R"({"type": "Sequence", "pretokenizers": [
             {"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Removed", "invert": true},
             {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})");
       }},
      {"\"Punctuation\"",
       [](json& f) {
         f["pre_tokenizer"] = json::parse(R"({"type": "Sequence", "pretokenizers": [
             {"type": "Punctuation"}, {"type": "ByteLevel"}]})");
       }},
      {"pretokenizers[0] \"ByteLevel\"",
       [](json& f) {
         f["pre_tokenizer"] = json::parse(R"({"type": "Sequence", "pretokenizers": [
             {"type": "ByteLevel"}, {"type": "Digits"}]})");
       }},
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
