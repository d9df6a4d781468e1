// Packed files and JSON lines through TextReader.
#include "core/error.hpp"
#include "core/file.hpp"
#include "datasets/build.hpp"
#include "datasets/text_reader.hpp"
#include "tests/datasets/pack.hpp"
#include "tests/datasets/word_tokenizer.hpp"
#include "tests/support/folder_test.hpp"

#include <sys/resource.h>
#include <sys/wait.h>

namespace isoflop {
namespace {

using Strings = std::vector<std::string>;

class PackedTextTest : public FolderTest {
 protected:
  static Strings documents(const Corpus& corpus) {
    TextReader reader(corpus);
    Strings result;
    for (TextPiece piece; reader.next(piece);) {
      if (piece.first) result.emplace_back();
      result.back() += piece.text;
    }
    EXPECT_EQ(reader.bytes_read(), corpus.bytes());
    return result;
  }
  Strings of_file(const std::string& name, const std::string& content) const {
    return documents(Corpus::open({write(name, content)}));
  }
  std::string complaint(const std::string& name, const std::string& content) const {
    const std::string file = write(name, content);
    EXPECT_THROW(documents(Corpus::open({file})), UserError) << name;
    return message_of([&] { documents(Corpus::open({file})); });
  }
};

std::string lines(int count) {
  std::string text;
  for (int64_t i = 0; i < count; ++i)
    text +=
        "line " + std::to_string(i * 7919 % 104729) + (i % 50 == 49 ? "\n<|endoftext|>\n" : "\n");
  return text;
}

TEST_F(PackedTextTest, EveryPackingGivesThePlainText) {
  const std::string text = lines(200'000);  // 2.4 MB: several reads of packed bytes
  const Strings plain = of_file("a.txt", text);
  ASSERT_EQ(plain.size(), 4000u);
  EXPECT_EQ(of_file("a.txt.gz", test::gzip(text)), plain);
  EXPECT_EQ(of_file("a.txt.zst", test::zstd(text)), plain);
  EXPECT_EQ(of_file("a.txt.xz", test::xz(text)), plain);
  EXPECT_EQ(of_file("packed.txt", test::gzip(text)), plain);  // by the bytes, not by the name
}

TEST_F(PackedTextTest, MembersFollowEachOther) {
  const Strings expected = {"one\n", "two\n"};
  const std::string first = "one\n<|endof", second = "text|>\ntwo\n";
  EXPECT_EQ(of_file("a.gz", test::gzip(first) + test::gzip("") + test::gzip(second)), expected);
  EXPECT_EQ(of_file("b.gz", test::gzip(first + second) + std::string(512, '\0')), expected);
  EXPECT_EQ(of_file("a.zst", test::zstd(first) + test::zstd(second)), expected);
  const std::string skippable("\x50\x2a\x4d\x18\x04\x00\x00\x00junk", 12);
  EXPECT_EQ(of_file("b.zst", skippable + test::zstd(first + second)), expected);
  EXPECT_EQ(of_file("a.xz", test::xz(first) + test::xz(second)), expected);
}

TEST_F(PackedTextTest, DamageIsNamed) {
  const std::string text = lines(20'000);
  const std::vector<std::pair<std::string, std::string>> files = {
      {"a.gz", test::gzip(text)}, {"a.zst", test::zstd(text)}, {"a.xz", test::xz(text)}};
  for (const auto& [name, whole] : files) {
    EXPECT_NE(complaint(name, whole.substr(0, whole.size() / 2)).find("cut off"), std::string::npos)
        << name;
    EXPECT_NE(complaint(name, whole.substr(0, whole.size() - 1)).find(name), std::string::npos);
    EXPECT_NE(complaint(name, whole + "more").find(name), std::string::npos);
    std::string flipped = whole;
    flipped[whole.size() / 2] = static_cast<char>(flipped[whole.size() / 2] ^ 0x55);
    const std::string said = complaint(name, flipped);
    EXPECT_NE(said.find("damaged"), std::string::npos) << said;
    EXPECT_NE(said.find("byte"), std::string::npos) << said;
  }
}

TEST_F(PackedTextTest, WindowsBeyondTheLimitAreRefused) {
  const std::string said = complaint("a.zst", test::zstd(lines(1000), 28));
  EXPECT_NE(said.find("128 MB"), std::string::npos) << said;
}

// 1 GB of blanks in 1 MB of gzip: unpacked piece by piece, it is one document of blanks and needs
// no more memory than a small file does.
TEST_F(PackedTextTest, SlowBombsStayBounded) {
  std::string bomb;
  const std::string member = test::gzip(std::string(100'000'000, ' '));
  for (int i = 0; i < 10; ++i) bomb += member;
  const std::string file = write("bomb.gz", bomb + test::gzip("a word"));
  bomb.clear();
  const pid_t child = ::fork();
  if (child == 0) {
    uint64_t bytes = 0;
    for_each_document({file}, [&](std::string_view text) { bytes += text.size(); });
    ::_exit(bytes == 1'000'000'006 ? 0 : 1);
  }
  int status = 0;
  rusage usage = {};
  ASSERT_EQ(::wait4(child, &status, 0, &usage), child);
  EXPECT_EQ(status, 0);
  EXPECT_LT(usage.ru_maxrss, 150'000);  // KB; what the test itself holds included
}

TEST_F(PackedTextTest, JsonLinesAreDocuments) {
  EXPECT_EQ(of_file("a.jsonl",
                    "{\"text\": \"one\\n<|endoftext|>\\nstill one\", \"id\": 1}\n"
                    "\n"
                    "{\"meta\": {\"text\": \"no\", \"list\": [\"text\", {\"text\": 1}]}, "
                    "\"text\": \"tw\\u00f6 \\ud83d\\ude00\"}\r\n"
                    "{\"text\": \"  \"}\n"
                    "{\"text\": \"last\"}"),
            (Strings{"one\n<|endoftext|>\nstill one", "tw\u00f6 \U0001F600", "last"}));
  EXPECT_EQ(of_file("b.jsonl", "\xEF\xBB\xBF{\"text\": \"bom\"}\n"), (Strings{"bom"}));
  EXPECT_EQ(of_file("c.jsonl.gz", test::gzip("{\"text\": \"packed\"}\n")), (Strings{"packed"}));
  const std::string file = write("d.ndjson", "{\"text\": \"no\", \"body\": \"yes\"}\n");
  EXPECT_EQ(documents(Corpus::open({file}, nullptr, "body")), (Strings{"yes"}));
}

TEST_F(PackedTextTest, LongJsonDocumentsComeInPieces) {
  std::string text;
  for (int i = 0; text.size() < 900'000; ++i) text += "word" + std::to_string(i * 31 % 997) + " ";
  const std::string file =
      write("a.jsonl", "{\"text\": \"" + text + "\"}\n{\"text\": \"short\"}\n");
  const Corpus corpus = Corpus::open({file});
  TextReader reader(corpus);
  Strings pieces;
  std::string joined;
  uint64_t offset = 1;
  for (TextPiece piece; reader.next(piece);) {
    pieces.emplace_back(piece.text);
    if (piece.text == "short")
      offset = piece.offset;
    else
      joined += piece.text;
  }
  EXPECT_EQ(pieces.size(), 5u);
  EXPECT_EQ(joined, text);
  EXPECT_EQ(offset, text.size() + std::string("{\"text\": \"\"}\n").size());
}

TEST_F(PackedTextTest, WrongLinesAreNamed) {
  const std::string good = "{\"text\": \"fine\"}\n";
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{\"body\": \"x\"}", "line 2 has no field \"text\""},
      {"{\"text\": 7}", "line 2 has a number in the field \"text\""},
      {"{\"text\": null}", "has null in the field"},
      {"{\"text\": [\"x\"]}", "has a list in the field"},
      {"{\"text\": {\"a\": 1}}", "has an object in the field"},
      {"{\"text\": \"a\", \"text\": \"b\"}", "twice"},
      {"[1]", "line 2 is a list, not an object"},
      {"\"text\"", "line 2 is text, not an object"},
      {"{\"text\": \"x\"", "line 2 is not valid JSON at byte"},
      {"{\"text\": \"x\"} more", "not valid JSON"},
      {"{\"text\": \"\xff\"}", "not valid JSON"},
      {"{\"text\": \"\\ud800\"}", "not valid JSON"},
      {std::string(5'000'000, '['), "is a list"},
      {"{\"x\": " + std::string(5'000'000, '['), "not valid JSON"},
  };
  for (const auto& [line, expected] : cases) {
    const std::string said = complaint("a.jsonl", good + line + "\n" + good);
    EXPECT_NE(said.find(expected), std::string::npos) << said.substr(0, 300);
    EXPECT_NE(said.find("a.jsonl"), std::string::npos);
  }
}

TEST_F(PackedTextTest, LinesHaveALimit) {
  const std::string said = complaint(
      "a.jsonl.gz", test::gzip("{\"text\": \"" + std::string(JsonLines::kLongestLine, 'x')));
  EXPECT_NE(said.find("line 1 is longer than 64 MB"), std::string::npos) << said;
}

TEST_F(PackedTextTest, TailCutsArePlacesInTheUnpackedText) {
  const std::string text = lines(100'000);
  const uint64_t cut = tail_cut(Corpus::open({write("a.txt", text)}).files()[0], 0.1);
  EXPECT_EQ(tail_cut(Corpus::open({write("a.gz", test::gzip(text))}).files()[0], 0.1), cut);
  EXPECT_EQ(tail_cut(Corpus::open({write("a.zst", test::zstd(text))}).files()[0], 0.1), cut);
  std::string json;
  for (int i = 0; i < 1000; ++i)
    json += "{\"text\": \"number " + std::to_string(i) + " with some words\"}\n";
  const uint64_t line = tail_cut(Corpus::open({write("a.jsonl", json)}).files()[0], 0.1);
  EXPECT_EQ(json[line - 1], '\n');
  EXPECT_NEAR(static_cast<double>(line), 0.9 * static_cast<double>(json.size()), 50);
  // One line has no inner place to cut.
  const std::string one = json.substr(0, json.find('\n') + 1);
  EXPECT_EQ(tail_cut(Corpus::open({write("b.jsonl", one)}).files()[0], 0.1), one.size());
}

TEST_F(PackedTextTest, StoresDoNotDependOnThePacking) {
  const std::string text = lines(50'000);
  const auto tokens = [&](const std::string& file, const std::string& content) {
    BuildOptions how;
    how.out = path("t.h5");
    how.valid_out = path("v.h5");
    how.valid_fraction = 0.1;
    how.split = Split::tail;
    how.overwrite = true;
    build_stores(Corpus::open({write(file, content)}), WordTokenizer(), how);
    std::vector<int32_t> ids;
    for (const char* name : {"t.h5", "v.h5"}) {
      const auto store = TokenStore::open(path(name), true);
      std::vector<int32_t> part(store->tokens());
      store->read(0, part);
      ids.insert(ids.end(), part.begin(), part.end());
    }
    return ids;
  };
  const auto plain = tokens("a.txt", text);
  EXPECT_EQ(tokens("a.txt.gz", test::gzip(text)), plain);
  EXPECT_EQ(tokens("a.txt.zst", test::zstd(text)), plain);
}

TEST_F(PackedTextTest, SizesOfTextAreEstimated) {
  const std::string text = lines(1'000'000);  // more than is unpacked to estimate
  const Corpus corpus = Corpus::open({write("a.zst", test::zstd(text)), write("b.txt", "four")});
  EXPECT_NEAR(corpus.text_bytes(), static_cast<double>(text.size() + 4),
              0.1 * static_cast<double>(text.size()));  // zstd holds a part back
  EXPECT_EQ(Corpus::open({write("c.gz", test::gzip("four"))}).text_bytes(), 4);
}

}  // namespace
}  // namespace isoflop
