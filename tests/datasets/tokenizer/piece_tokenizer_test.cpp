// SentencePiece's BPE on a few pieces, from each of the files that may hold them.
#include "datasets/tokenizer/piece_tokenizer.hpp"

#include "core/error.hpp"
#include "datasets/tokenizer/llama2c_file.hpp"
#include "datasets/tokenizer/sentencepiece_file.hpp"
#include "tests/datasets/tokenizer/reference_encodings.hpp"
#include "tests/datasets/tokenizer/sentencepiece_bytes.hpp"

#include <gtest/gtest.h>

#include <functional>

namespace isoflop {
namespace {

using test::encode;
using test::Ids;
using test::RawModel;

std::unique_ptr<Tokenizer> read(const RawModel& model) {
  return read_sentencepiece(test::sentencepiece_bytes(model), "some.model");
}

std::string texts(const Tokenizer& tokenizer, std::string_view text, bool special = false) {
  Ids ids;
  tokenizer.encode(text, ids, special);
  std::string result;
  for (const int32_t id : ids) result += (result.empty() ? "" : " ") + tokenizer.token_text(id);
  return result;
}

TEST(PieceTokenizer, JoinsByScoreNotByLength) {
  const auto plain =
      read({.pieces = test::small_pieces(), .add_space_prefix = false, .collapse_spaces = false});
  EXPECT_EQ(texts(*plain, "abc"), "abc");  // ab first, then abc
  EXPECT_EQ(texts(*plain, "bcb"), "bc b");
  EXPECT_EQ(texts(*plain, "aabc"), "a abc");
  EXPECT_EQ(texts(*plain, " abc"), "\u2581 abc");  // ab goes before the space's a
  EXPECT_EQ(texts(*plain,
                  "ab"
                  "ab"),
            "ab ab");
}

TEST(PieceTokenizer, OfEqualScoreTheLeftmostIsFirst) {
  RawModel model{
      .pieces = test::small_pieces(), .add_space_prefix = false, .collapse_spaces = false};
  for (test::RawPiece& piece : model.pieces) piece.score = -1;
  EXPECT_EQ(texts(*read(model), "abcbc"), "abc bc");
  EXPECT_EQ(texts(*read(model), " abc"), "\u2581ab c");
}

TEST(PieceTokenizer, SpacesAsTheModelAsks) {
  const auto collapsing = read({.pieces = test::small_pieces()});
  EXPECT_EQ(texts(*collapsing, "  a   b  "), "\u2581a \u2581 b");
  EXPECT_EQ(texts(*collapsing, "   "), "");
  EXPECT_EQ(texts(*collapsing, "\u2581"), "");  // as SentencePiece does
  EXPECT_EQ(collapsing->decode(encode(*collapsing, " a   b")), " a b");
  const auto keeping = read({.pieces = test::small_pieces(), .collapse_spaces = false});
  EXPECT_EQ(texts(*keeping, " a  b "), "\u2581 \u2581a \u2581\u2581 b \u2581");
  EXPECT_EQ(keeping->decode(encode(*keeping, "a  b ")), " a  b ");
  EXPECT_EQ(texts(*keeping, ""), "");
}

TEST(PieceTokenizer, CharactersWithoutAPiece) {
  const auto bytes = read({.pieces = test::small_pieces(true), .byte_fallback = true});
  EXPECT_EQ(texts(*bytes, "a\nb"), "\u2581a <0x0A> b");
  EXPECT_EQ(texts(*bytes, "\u4f60\u00e9"), "\u2581 <0xE4> <0xBD> <0xA0> \u00e9");
  EXPECT_EQ(texts(*bytes, "a\xff"), "\u2581a <0xEF> <0xBF> <0xBD>");
  EXPECT_EQ(bytes->decode(encode(*bytes, "a\u4f60\n")), " a\u4f60\n");
  EXPECT_TRUE(bytes->rules().byte_fallback);
  const auto unknown = read({.pieces = test::small_pieces()});
  EXPECT_EQ(texts(*unknown, "ax\u4f60yb xx"), "\u2581a <unk> b \u2581 <unk>");
  EXPECT_EQ(unknown->decode(encode(*unknown, "ax")), " a \u2047 ");
}

TEST(PieceTokenizer, ACharacterMayBeJoinedWithoutBeingAPiece) {
  RawModel model{.pieces = test::small_pieces(true), .byte_fallback = true};
  model.pieces.push_back({"az", -50});
  EXPECT_EQ(texts(*read(model), "zbaz"), "\u2581 <0x7A> b az");
}

TEST(PieceTokenizer, ControlPiecesOnlyWhenAskedForUserPiecesAlways) {
  RawModel model{.pieces = test::small_pieces(true), .byte_fallback = true};
  model.pieces.push_back({"bb", 0, 4});
  model.pieces.push_back({"bba", 0});
  const auto tokenizer = read(model);
  EXPECT_EQ(tokenizer->separator(), 2);
  EXPECT_EQ(texts(*tokenizer, "a</s>").find("</s>"), std::string::npos);
  EXPECT_EQ(texts(*tokenizer, "a</s>a", true), "\u2581a </s> \u2581a");
  EXPECT_EQ(texts(*tokenizer, "abba"), "\u2581a bb a");  // joined with nothing
  EXPECT_EQ(tokenizer->type(2), TokenType::control);
  EXPECT_EQ(tokenizer->type(0), TokenType::unknown);
  EXPECT_TRUE(tokenizer->is_special(0));
  EXPECT_EQ(read({.pieces = test::small_pieces(), .eos_id = -1})->separator(), 1);
}

TEST(PieceTokenizer, LongTextIsCutWhereNoPieceReachesAcross) {
  // A piece with a space inside forbids the cut before it.
  RawModel model{.pieces = test::small_pieces(true), .byte_fallback = true};
  model.pieces.push_back({"c\u2581", 1});
  model.pieces.push_back({"c\u2581a", 2});
  EXPECT_EQ(texts(*read(model), "bc ab"), "\u2581 b c\u2581a b");
  const auto tokenizer = read({.pieces = test::small_pieces(true), .byte_fallback = true});
  std::string text, expected = " ";
  for (int i = 0; i < 100000; ++i) text += i % 7 ? "abc" : " \u4f60b";
  const Ids ids = encode(*tokenizer, text + std::string(100000, 'a'));
  EXPECT_EQ(tokenizer->decode(ids), " " + text.substr(1) + std::string(100000, 'a'));
}

TEST(PieceTokenizer, TheJsonWeWriteGivesTheSame) {
  for (const bool bytes : {false, true})
    for (const bool collapse : {false, true}) {
      RawModel model{.pieces = test::small_pieces(bytes), .byte_fallback = bytes};
      model.collapse_spaces = collapse;
      model.pieces.push_back({"user", -0.0f, 4});
      const auto tokenizer = read(model);
      const auto again = Tokenizer::from_json(tokenizer->to_json(), "text");
      EXPECT_EQ(again->to_json(), tokenizer->to_json());
      EXPECT_EQ(again->kind(), Tokenizer::Kind::sentencepiece);
      EXPECT_EQ(again->separator(), tokenizer->separator());
      EXPECT_EQ(again->score(5), tokenizer->score(5));
      EXPECT_EQ(encode(*again, "  abc  user x"), encode(*tokenizer, "  abc  user x"));
    }
}

template <class E>
void expect_refused(const RawModel& model, const char* part) {
  try {
    read(model);
    ADD_FAILURE() << "accepted, but " << part;
  } catch (const Error& error) {
    EXPECT_EQ(typeid(error), typeid(E)) << error.what();
    EXPECT_EQ(std::string(error.what()).substr(0, 11), "some.model:");
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(SentencePieceFile, WhatWeDoNotSupportIsNamed) {
  const auto pieces = test::small_pieces();
  expect_refused<UserError>({.pieces = pieces, .model_type = 1}, "unigram");
  expect_refused<UserError>({.pieces = pieces, .model_type = 4}, "char");
  expect_refused<UserError>({.pieces = pieces, .spaces_behind_words = true},
                            "treat_whitespace_as_suffix");
  expect_refused<UserError>({.pieces = pieces, .character_map = "map"}, "precompiled_charsmap");
  expect_refused<UserError>({.pieces = pieces, .escape_spaces = false}, "escape_whitespaces");
  expect_refused<UserError>({.pieces = pieces, .byte_fallback = true}, "byte_fallback");
  RawModel unused{.pieces = pieces};
  unused.pieces.push_back({"x", 0, 5});
  expect_refused<UserError>(unused, "unused");
}

TEST(SentencePieceFile, DamagedPiecesAreNamed) {
  const struct {
    const char* part;
    std::function<void(RawModel&)> change;
  } cases[] = {
      {"no pieces", [](RawModel& m) { m.pieces.clear(); }},
      {"piece 3 is empty", [](RawModel& m) { m.pieces[3].text.clear(); }},
      {"piece 3", [](RawModel& m) { m.pieces[3].text = "\xff"; }},
      {"pieces 3 and 4", [](RawModel& m) { m.pieces[4].text = m.pieces[3].text; }},
      {"score of piece 3", [](RawModel& m) { m.pieces[3].score = std::nanf(""); }},
      {"pieces[3].type", [](RawModel& m) { m.pieces[3].type = 9; }},
      {"is no byte", [](RawModel& m) { m.pieces[3].type = 6, m.byte_fallback = true; }},
      {"only 1 of the 256",
       [](RawModel& m) {
         m.pieces[3] = {"<0x0A>", 0, 6}, m.byte_fallback = true;
       }},
      {"no piece for the unknown", [](RawModel& m) { m.pieces[0].type = 1; }},
  };
  for (const auto& [part, change] : cases) {
    RawModel model{.pieces = test::small_pieces()};
    change(model);
    expect_refused<FormatError>(model, part);
  }
}

TEST(SentencePieceFile, CutOffAnywhere) {
  const std::string file = test::sentencepiece_bytes({.pieces = test::small_pieces()});
  for (size_t size = 0; size < file.size(); ++size) {
    try {
      read_sentencepiece(std::string_view(file).substr(0, size), "some.model");
    } catch (const UserError&) {
    }
  }
}

TEST(Llama2cFile, HoldsTheSamePieces) {
  std::vector<test::RawPiece> pieces = test::small_pieces(true);
  const auto model = read({.pieces = pieces, .byte_fallback = true, .collapse_spaces = false});
  for (test::RawPiece& piece : pieces)
    for (size_t at; (at = piece.text.find("\u2581")) != std::string::npos;)
      piece.text.replace(at, 3, " ");
  pieces[1].text = "\n<s>\n";
  const std::string file = test::llama2c_bytes(pieces);
  ASSERT_TRUE(looks_like_llama2c(file));
  const auto tokenizer = read_llama2c(file, "tok.bin");
  EXPECT_EQ(tokenizer->to_json(), model->to_json());
  size_t accepted =
      0;  // cut between pieces behind the bytes: the format does not say how many follow
  for (size_t size = 0; size < file.size(); ++size) {
    try {
      read_llama2c(std::string_view(file).substr(0, size), "tok.bin");
      ++accepted;
    } catch (const FormatError&) {
    }
  }
  EXPECT_EQ(accepted, 12u);
  std::string negative = file;
  negative[11] = '\x80';
  EXPECT_THROW(read_llama2c(negative, "tok.bin"), FormatError);
}

TEST(SentencePieceFile, OpenLlamaReferenceEncodings) {
  const auto file = test::shared_data("tokenizer/openllama3b/tokenizer.model");
  if (!file) GTEST_SKIP() << test::missing_shared_data("tokenizer/openllama3b");
  const auto tokenizer = Tokenizer::load(*file);
  EXPECT_EQ(tokenizer->vocabulary(), 32000);
  EXPECT_EQ(tokenizer->separator(), 2);
  EXPECT_EQ(Tokenizer::load(file->parent_path())->hash(), tokenizer->hash());
  test::expect_reference_encodings(*tokenizer, "ref/openllama3b-encodings-30.jsonl");
  // What the sentencepiece library gives.
  EXPECT_EQ(encode(*tokenizer, "  a  b "), (Ids{260, 284}));
  EXPECT_EQ(encode(*tokenizer,
                   "a\xff\xfe"
                   "b\xc3"),
            (Ids{260, 31986, 31986, 31842, 31986}));
  EXPECT_EQ(encode(*tokenizer, "<0x0A>\n"), (Ids{718, 31852, 31859, 31852, 31849, 31901, 13}));
  EXPECT_EQ(encode(*tokenizer, "e\u0301"), (Ids{315, 207, 132}));
}

TEST(Llama2cFile, Stories260K) {
  const auto file = test::shared_data("model/stories260K/tok512.bin");
  if (!file) GTEST_SKIP() << test::missing_shared_data("model/stories260K");
  const auto tokenizer = Tokenizer::load(*file);
  EXPECT_EQ(tokenizer->vocabulary(), 512);
  EXPECT_EQ(tokenizer->separator(), 2);
  EXPECT_EQ(tokenizer->token_text(2), "</s>");
  // What llama2.c gives.
  EXPECT_EQ(encode(*tokenizer, "Once upon a time"), (Ids{403, 407, 261, 378}));
}

}  // namespace
}  // namespace isoflop
