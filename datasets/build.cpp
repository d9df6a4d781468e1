#include "datasets/build.hpp"

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/hash.hpp"
#include "core/threads.hpp"
#include "datasets/text_reader.hpp"
#include "datasets/token_store.hpp"

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

namespace isoflop {

namespace {

constexpr uint64_t kFewDocuments = 20;  // below this a split by document is too coarse

// What one thread tokenizes at a time: pieces of text, small documents together.
struct Tile {
  struct Part {
    size_t text_end = 0;
    size_t ids_end = 0;
    bool last = false;  // of its document
    bool valid = false;
  };
  std::string text;
  std::vector<Part> parts;
  std::vector<int32_t> ids;
};

// The outputs, and which side of the split a document belongs to.
class Build {
 public:
  Build(const Corpus& corpus, const Tokenizer& tokenizer, const BuildOptions& options)
      : corpus_(corpus), tokenizer_(tokenizer), options_(options) {}

  BuildReport run();

 private:
  void check_options() const;
  void choose_split();
  std::unique_ptr<TokenStoreWriter> make_writer(const std::filesystem::path& path) const;
  bool fill(TextReader& reader, Tile& tile);
  void encode(Tile& tile) const;
  void write(const Tile& tile);
  void report_progress(const TextReader& reader) const;
  StoreReport finish(TokenStoreWriter& writer, const TextReader& reader) const;

  const Corpus& corpus_;
  const Tokenizer& tokenizer_;
  const BuildOptions& options_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();

  Split split_ = Split::automatic;
  std::vector<uint64_t> cuts_;  // per file, where its validation part starts; empty unless by tail
  bool document_is_valid_ = false;

  std::unique_ptr<TokenStoreWriter> train_, valid_;
  uint64_t document_bytes_ = 0;  // written so far of the document at hand
  uint64_t tokens_ = 0, documents_ = 0, train_documents_ = 0;
};

void Build::check_options() const {
  for (const auto& path : {options_.out, options_.valid_out}) {
    if (path.empty()) continue;
    if (!options_.overwrite && std::filesystem::exists(path))
      fail_user("{} exists already; remove it, choose another name, or ask for --overwrite",
                path.string());
    const std::filesystem::path folder = path.parent_path();
    require_writable_directory(folder.empty() ? std::filesystem::path(".") : folder);
  }
  if (options_.out.empty()) fail_user("the output has no name; give one with --out");
  if (options_.valid_out.empty()) return;
  if (options_.valid_out == options_.out)
    fail_user("{} is named for both training and validation; give two names",
              options_.out.string());
  if (!(options_.valid_fraction > 0 && options_.valid_fraction < 1))
    fail_user("the validation fraction is {}; it must lie between 0 and 1",
              options_.valid_fraction);
}

void Build::choose_split() {
  if (options_.valid_out.empty()) return;
  split_ = options_.split;
  if (split_ == Split::automatic) {
    TextReader reader(corpus_);
    uint64_t documents = 0;
    for (TextPiece piece; documents < kFewDocuments && reader.next(piece);) {
      throw_if_stopped(options_.stop);
      documents += piece.last;
    }
    split_ = documents < kFewDocuments ? Split::tail : Split::hash;
  }
  if (split_ == Split::tail)
    for (const TextFile& file : corpus_.files())
      cuts_.push_back(tail_cut(file, options_.valid_fraction));
}

std::unique_ptr<TokenStoreWriter> Build::make_writer(const std::filesystem::path& path) const {
  if (path.empty()) return nullptr;
  return std::make_unique<TokenStoreWriter>(path, tokenizer_.vocabulary(), tokenizer_.separator(),
                                            tokenizer_.hash());
}

bool Build::fill(TextReader& reader, Tile& tile) {
  tile.text.clear();
  tile.parts.clear();
  for (TextPiece piece; tile.text.size() < TextReader::kPieceBytes && reader.next(piece);) {
    if (piece.first && split_ == Split::hash) {
      const double place = static_cast<double>(hash_text(piece.text) >> 11) * 0x1p-53;
      document_is_valid_ = place < options_.valid_fraction;
    } else if (piece.first && split_ == Split::tail) {
      document_is_valid_ = piece.offset >= cuts_[piece.file];
    }
    tile.text += piece.text;
    tile.parts.push_back({tile.text.size(), 0, piece.last, document_is_valid_});
  }
  return !tile.parts.empty();
}

void Build::encode(Tile& tile) const {
  throw_if_stopped(options_.stop);
  tile.ids.clear();
  size_t begin = 0;
  for (Tile::Part& part : tile.parts) {
    tokenizer_.encode(std::string_view(tile.text).substr(begin, part.text_end - begin), tile.ids);
    part.ids_end = tile.ids.size();
    begin = part.text_end;
  }
}

void Build::write(const Tile& tile) {
  size_t text_begin = 0, ids_begin = 0;
  for (const Tile::Part& part : tile.parts) {
    TokenStoreWriter& writer = part.valid ? *valid_ : *train_;
    writer.append(std::span(tile.ids).subspan(ids_begin, part.ids_end - ids_begin));
    document_bytes_ += part.text_end - text_begin;
    tokens_ += part.ids_end - ids_begin;
    text_begin = part.text_end;
    ids_begin = part.ids_end;
    if (!part.last) continue;
    writer.end_document(document_bytes_);
    document_bytes_ = 0;
    ++documents_;
    train_documents_ += !part.valid;
  }
}

void Build::report_progress(const TextReader& reader) const {
  if (!options_.progress) return;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const auto done = static_cast<double>(reader.bytes_read());
  const auto total = static_cast<double>(corpus_.bytes());
  options_.progress({reader.bytes_read(), corpus_.bytes(), tokens_, documents_, seconds,
                     done > 0 ? std::max(0.0, total - done) * seconds / done : 0});
}

StoreReport Build::finish(TokenStoreWriter& writer, const TextReader& reader) const {
  for (const TokenSource& source : reader.sources()) writer.add_source(source);
  const TokenStoreInfo info = writer.finish();
  return {info.tokens, info.documents, info.text_bytes};
}

BuildReport Build::run() {
  check_options();
  choose_split();
  train_ = make_writer(options_.out);
  valid_ = make_writer(options_.valid_out);
  TextReader reader(corpus_, cuts_);
  ThreadTeam team(options_.threads);
  // Several tiles per thread, so that none waits long for the slowest.
  std::vector<Tile> tiles(static_cast<size_t>(std::max(32, 8 * team.size())));
  for (bool more = true; more;) {
    throw_if_stopped(options_.stop);
    size_t filled = 0;
    while (filled < tiles.size() && (more = fill(reader, tiles[filled]))) ++filled;
    team.run(static_cast<int64_t>(filled),
             [&](int64_t tile, int) { encode(tiles[static_cast<size_t>(tile)]); });
    for (size_t i = 0; i < filled; ++i) write(tiles[i]);
    report_progress(reader);
  }
  if (documents_ == 0) fail_user("there is no text in {} but blanks", corpus_.files()[0].name);
  if (train_documents_ == 0 || (valid_ && train_documents_ == documents_))
    fail_user(
        "the {} part came out empty: give more text, another fraction (now {}), or --split {}",
        train_documents_ == 0 ? "training" : "validation", options_.valid_fraction,
        split_ == Split::tail ? "hash" : "tail");
  throw_if_stopped(options_.stop);
  BuildReport report;
  report.split = split_;
  if (valid_) report.valid = finish(*valid_, reader);
  try {
    report.train = finish(*train_, reader);
  } catch (...) {
    std::error_code ignored;
    if (valid_) std::filesystem::remove(options_.valid_out, ignored);
    throw;
  }
  return report;
}

}  // namespace

Split parse_split(std::string_view name) {
  if (name == "auto") return Split::automatic;
  if (name == "hash") return Split::hash;
  if (name == "tail") return Split::tail;
  fail_user("split is \"{}\"; it is one of auto, hash, tail", name);
}

BuildReport build_stores(const Corpus& corpus,
                         const Tokenizer& tokenizer,
                         const BuildOptions& options) {
  return Build(corpus, tokenizer, options).run();
}

}  // namespace isoflop
