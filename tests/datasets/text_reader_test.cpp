#include "datasets/text_reader.hpp"

#include "core/error.hpp"
#include "core/file.hpp"
#include "tests/datasets/word_tokenizer.hpp"
#include "tests/support/folder_test.hpp"
#include "tests/support/shared_data.hpp"

#include <sys/stat.h>

#include <thread>

namespace isoflop {
namespace {

using Strings = std::vector<std::string>;

class TextReaderTest : public FolderTest {
 protected:
  // Whole documents; checks that pieces follow each other as they say.
  static Strings documents(const Corpus& corpus, const std::vector<uint64_t>& cuts = {}) {
    TextReader reader(corpus, cuts);
    Strings result;
    bool open = false;
    for (TextPiece piece; reader.next(piece);) {
      EXPECT_EQ(piece.first, !open);
      EXPECT_LE(piece.text.size(), TextReader::kLongestPiece);
      if (piece.first) result.emplace_back();
      result.back() += piece.text;
      open = !piece.last;
    }
    EXPECT_FALSE(open);
    EXPECT_EQ(reader.bytes_read(), corpus.bytes());
    return result;
  }
  Strings of_text(const std::string& text) const {
    return documents(Corpus::open({write("t.txt", text)}));
  }
};

// Words of 1 to 12 letters, a line end every dozen words, an empty line now and then.
std::string prose(size_t bytes, uint32_t seed = 1) {
  std::string text;
  text.reserve(bytes + 32);
  while (text.size() < bytes) {
    seed = seed * 1664525 + 1013904223;
    text.append(1 + (seed >> 16) % 12, static_cast<char>('a' + (seed >> 8) % 26));
    text += seed % 12 == 0 ? "\n" : seed % 97 == 0 ? ".\n\n" : seed % 31 == 0 ? ".  " : " ";
  }
  return text;
}

TEST_F(TextReaderTest, DocumentsEndAtSeparatorLinesAndFileEnds) {
  EXPECT_EQ(of_text("one\n<|endoftext|>\ntwo\n\nlines\n<|endoftext|>\n"),
            (Strings{"one\n", "two\n\nlines\n"}));
  EXPECT_EQ(of_text("one\r\n<|endoftext|>\r\ntwo"), (Strings{"one\r\n", "two"}));
  EXPECT_EQ(of_text("<|endoftext|>\n\n<|endoftext|>\none<|endoftext|>\n<|endoftext|> x\n"),
            (Strings{"one<|endoftext|>\n<|endoftext|> x\n"}));
  EXPECT_EQ(of_text("one\n<|endoftext|>"), (Strings{"one\n"}));
  EXPECT_EQ(of_text("\xEF\xBB\xBFone"), (Strings{"one"}));
  EXPECT_EQ(of_text(" \n\t\n"), Strings{});
}

TEST_F(TextReaderTest, LongDocumentsComeInPiecesWithTheIdsOfTheWhole) {
  const WordTokenizer tokenizer;
  const std::string first = prose(3'000'000), second = prose(700'000, 9);
  const std::string path = write("t.txt", first + "\n<|endoftext|>\n" + second);
  EXPECT_EQ(documents(Corpus::open({path})), (Strings{first + "\n", second}));
  std::vector<int32_t> whole, in_pieces;
  tokenizer.encode(first + "\n", whole, false);
  tokenizer.encode(second, whole, false);
  size_t pieces = 0;
  for_each_document({path}, [&](std::string_view text) {
    tokenizer.encode(text, in_pieces, false);
    ++pieces;
  });
  EXPECT_GE(pieces, 13u);
  EXPECT_EQ(in_pieces, whole);
}

// The promise behind cutting long documents, with a real vocabulary and real books.
TEST_F(TextReaderTest, PiecesKeepTheIdsOfGpt2) {
  const auto gpt2 = test::shared_data("tokenizer/gpt2");
  if (!gpt2) GTEST_SKIP() << test::missing_shared_data("tokenizer/gpt2");
  const auto book = test::shared_data("text/tinyshakespeare.txt");
  if (!book) GTEST_SKIP() << test::missing_shared_data("text/tinyshakespeare.txt");
  const auto tokenizer = Tokenizer::load(*gpt2);
  const std::string text = read_file(*book);
  std::vector<int32_t> whole, in_pieces;
  // Each start puts the cuts elsewhere: behind a line, before a word.
  for (const size_t start : {0, 11, 23, 37, 101}) {
    whole.clear();
    in_pieces.clear();
    tokenizer->encode(std::string_view(text).substr(start), whole);
    for_each_document({write("t.txt", text.substr(start))},
                      [&](std::string_view piece) { tokenizer->encode(piece, in_pieces); });
    EXPECT_EQ(in_pieces, whole) << start;
  }
}

TEST_F(TextReaderTest, WideSpacesAreNoPlaceToCut) {
  // Every line end has a no-break space before it, every blank a wide one behind it.
  std::string text;
  while (text.size() < 600'000) text += "word\u00a0\nword \u3000word";
  const Corpus corpus = Corpus::open({write("t.txt", text)});
  TextReader reader(corpus);
  TextPiece piece;
  ASSERT_TRUE(reader.next(piece));
  EXPECT_EQ(piece.text.size(), text.size());
  EXPECT_TRUE(piece.last);
}

TEST_F(TextReaderTest, TextWithoutBlanksIsCutBetweenCharacters) {
  std::string text;
  while (text.size() < 9'000'000) text += "\u6587\u00e9x";  // 3, 2 and 1 bytes
  const Corpus corpus = Corpus::open({write("t.txt", text)});
  TextReader reader(corpus);
  std::string joined;
  size_t pieces = 0;
  for (TextPiece piece; reader.next(piece); ++pieces) {
    EXPECT_NE(static_cast<uint8_t>(piece.text[0]) & 0xC0, 0x80);
    joined += piece.text;
  }
  EXPECT_EQ(pieces, 3u);
  EXPECT_EQ(joined, text);
}

// Separators at and around every place where a piece or a read could end.
TEST_F(TextReaderTest, SeparatorsAcrossPieceBordersAreSeen) {
  for (const size_t border : {TextReader::kPieceBytes, size_t{1} << 20}) {
    for (size_t delta = 0; delta < 40; ++delta) {
      const std::string first =
          prose(border - 35).substr(0, border - 20) + std::string(delta, 'x') + "\n";
      EXPECT_EQ(of_text(first + "<|endoftext|>\nsecond"), (Strings{first, "second"}))
          << border << delta;
    }
  }
}

TEST_F(TextReaderTest, CutsEndDocuments) {
  const Corpus corpus = Corpus::open({write("a.txt", "one two"), write("b.txt", "three")});
  EXPECT_EQ(documents(corpus, {4, 5}), (Strings{"one ", "two", "three"}));
}

TEST_F(TextReaderTest, SourcesCarrySizeAndHash) {
  const std::string text = prose(2'000'000);
  const Corpus corpus = Corpus::open({write("a.txt", "one"), write("b.txt", text)});
  TextReader reader(corpus);
  for (TextPiece piece; reader.next(piece);) {
  }
  ASSERT_EQ(reader.sources().size(), 2u);
  EXPECT_EQ(reader.sources()[1].path, path("b.txt").string());
  EXPECT_EQ(reader.sources()[1].bytes, text.size());
  EXPECT_EQ(reader.sources()[1].hash, hash_text(text));
}

TEST_F(TextReaderTest, BinaryAndChangingFilesAreRefused) {
  const Corpus binary =
      Corpus::open({write("a.txt", prose(1'500'000) + std::string(1, '\0') + "x")});
  const std::string text = message_of([&] { documents(binary); });
  EXPECT_NE(text.find("a.txt is not text"), std::string::npos) << text;
  EXPECT_NE(text.find(std::to_string(fs::file_size(path("a.txt")) - 2)), std::string::npos) << text;
  const Corpus changing = Corpus::open({write("b.txt", "some text")});
  write("b.txt", "more text than there was");
  EXPECT_THROW(documents(changing), UserError);
}

TEST_F(TextReaderTest, TailCutFallsOnALine) {
  const std::string text = prose(1'000'000);
  const Corpus corpus = Corpus::open({write("t.txt", text)});
  const uint64_t cut = tail_cut(corpus.files()[0], 0.1);
  EXPECT_EQ(text[cut - 1], '\n');
  EXPECT_NEAR(static_cast<double>(cut), 900'000, 1000);  // a line has about 100 bytes
  const auto cut_of = [&](const std::string& content, double fraction) {
    return tail_cut(Corpus::open({write("s.txt", content)}).files()[0], fraction);
  };
  EXPECT_EQ(cut_of("first\nsecond\nthird\n", 0.01), 13u);         // never behind the text
  EXPECT_EQ(cut_of("first\nsecond\n<|endoftext|>\n", 0.01), 6u);  // nor at its separator
  EXPECT_EQ(cut_of("one two three four", 0.5), 13u);
  EXPECT_EQ(cut_of("\u00e9\u00e9\u00e9\u00e9", 0.4), 6u);
  EXPECT_EQ(cut_of("x", 0.5), 1u);
  EXPECT_EQ(cut_of("\n\n", 0.5), 2u);
}

TEST_F(TextReaderTest, FoldersAndGlobsInByteOrder) {
  write("in/b.txt", "b");
  write("in/B.md", "B");
  write("in/a/z.txt", "z");
  write("in/a.text", "a");
  write("in/c.jsonl", "{\"text\": \"c\"}\n");
  write("in/notes.csv", "no text");
  write("in/empty.txt", "");
  write("in/.hidden.txt", "hidden");
  write("in/.git/c.txt", "hidden");
  EXPECT_EQ(documents(Corpus::open({path("in").string()})), (Strings{"B", "a", "z", "b", "c"}));
  EXPECT_EQ(documents(Corpus::open({path("in/*.txt").string(), path("in/a.text").string()})),
            (Strings{"b", "a"}));  // a glob passes over hidden files
  write("odd[1].txt", "odd");
  EXPECT_EQ(documents(Corpus::open({path("odd[1].txt").string()})), (Strings{"odd"}));
}

TEST_F(TextReaderTest, UnusableInputsAreNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {path("absent.txt").string(), "absent.txt: No such file"},
      {path("none*.txt").string(), "no file with text matches"},
      {write("empty.txt", ""), "empty.txt is empty"},
      {write("a.txt.zst", "x"), "named like a packed file"},
      {write("a.bz2", "x"), "bunzip2"},
      {write("a.tar.gz", "x"), "tar -xf"},
      {write("a.json", "[]"), "jq"},
      {write("a.parquet", "x"), "pyarrow"},
      {write("tokens.idx", "x"), "data.train"},
      {write("a.h5", "x"), "token store"},
      {write("wide.txt",
             "\xff\xfe"
             "a"),
       "iconv"},
      {write("folder/a.csv", "x").substr(0, path("folder").string().size()), "no .txt"},
  };
  for (const auto& [input, expected] : cases) {
    EXPECT_THROW(Corpus::open({input}), UserError) << input;
    const std::string& name = input;  // clang 14 cannot capture the binding itself
    const std::string text = message_of([&] { Corpus::open({name}); });
    EXPECT_NE(text.find(expected), std::string::npos) << text;
    EXPECT_NE(text.find(input), std::string::npos) << text;
  }
  EXPECT_THROW(Corpus::open({}), UserError);
  write("mixed/a.txt", "text");
  write("mixed/b.parquet", "x");
  EXPECT_THROW(Corpus::open({path("mixed").string()}), UserError);
  if (::geteuid() == 0) return;  // root reads everything
  fs::permissions(write("secret.txt", "x"), fs::perms::none);
  EXPECT_THROW(Corpus::open({path("secret.txt").string()}), UserError);
}

TEST_F(TextReaderTest, PipesAreReadOnceAndPassedOverTwice) {
  const std::string pipe = path("pipe").string();
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  const std::string text = prose(2'000'000);
  std::thread feeder([&] { std::ofstream(pipe, std::ios::binary) << text; });
  const Corpus corpus = Corpus::open({pipe});
  feeder.join();
  EXPECT_EQ(corpus.bytes(), text.size());
  EXPECT_EQ(documents(corpus), (Strings{text}));
  EXPECT_EQ(documents(corpus), (Strings{text}));
}

TEST_F(TextReaderTest, StandardInput) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const int saved = ::dup(STDIN_FILENO);
  ::dup2(ends[0], STDIN_FILENO);
  ASSERT_EQ(::write(ends[1], "from stdin", 10), 10);
  ::close(ends[1]);
  const Corpus corpus = Corpus::open({"-"});
  ::dup2(saved, STDIN_FILENO);
  ::close(saved);
  ::close(ends[0]);
  EXPECT_EQ(documents(corpus), (Strings{"from stdin"}));
}

}  // namespace
}  // namespace isoflop
