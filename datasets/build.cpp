#include "datasets/build.hpp"

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/hash.hpp"
#include "core/threads.hpp"
#include "datasets/text_tiles.hpp"
#include "datasets/token_store.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <vector>

namespace isoflop {

namespace {

constexpr uint64_t kFewDocuments = 20;  // below this a split by document is too coarse

constexpr size_t kExamples = 3;        // of duplicates, in the report
constexpr size_t kExampleBytes = 120;  // of each

// The ids of a tile, and where those of each part end.
struct Encoded {
  std::vector<int32_t> ids;
  std::vector<size_t> ends;
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
  void drop_duplicates();
  bool is_dropped(uint64_t document) const {
    return !duplicates_.drop.empty() && duplicates_.drop[document];
  }
  void encode(const TextTile& tile, Encoded& encoded) const;
  void write(const TextTile& tile, const Encoded& encoded);
  void choose_side(const TextTile& tile, size_t part);
  void keep_example(const TextTile& tile, size_t part);
  void report_progress(const TextReader& reader) const;
  StoreReport finish(TokenStoreWriter& writer, const TextReader& reader) const;

  const Corpus& corpus_;
  const Tokenizer& tokenizer_;
  const BuildOptions& options_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();

  Split split_ = Split::automatic;
  std::vector<uint64_t> cuts_;  // per file, where its validation part starts; empty unless by tail
  bool document_is_valid_ = false;
  Duplicates duplicates_;
  std::map<uint64_t, std::string> example_texts_;  // how those in the examples begin, by document

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

void Build::drop_duplicates() {
  if (options_.dedup == Dedup::off) return;
  duplicates_ = find_duplicates(
      corpus_, cuts_,
      {options_.dedup, options_.dedup_threshold, options_.threads, options_.stop, {}});
  if (!options_.dedup_report.empty()) write_duplicates(duplicates_, corpus_, options_.dedup_report);
  for (size_t i = 0; i < std::min(kExamples, duplicates_.list.size()); ++i) {
    example_texts_[duplicates_.list[i].document];
    example_texts_[duplicates_.list[i].of];
  }
}

void Build::encode(const TextTile& tile, Encoded& encoded) const {
  encoded.ids.clear();
  encoded.ends.clear();
  for (size_t i = 0; i < tile.parts.size(); ++i) {
    const TextTile::Part& part = tile.parts[i];
    if (!is_dropped(part.document)) {
      if (part.first)
        tokenizer_.encode(tile.part_text(i), encoded.ids);
      else
        tokenizer_.encode_more(tile.part_text(i), encoded.ids);
    }
    encoded.ends.push_back(encoded.ids.size());
  }
}

void Build::choose_side(const TextTile& tile, size_t part) {
  if (split_ == Split::hash) {
    const double place = static_cast<double>(hash_text(tile.part_text(part)) >> 11) * 0x1p-53;
    document_is_valid_ = place < options_.valid_fraction;
  } else if (split_ == Split::tail) {
    document_is_valid_ = tile.parts[part].offset >= cuts_[tile.parts[part].file];
  }
}

void Build::keep_example(const TextTile& tile, size_t part) {
  const auto example = example_texts_.find(tile.parts[part].document);
  if (example != example_texts_.end())
    example->second = tile.part_text(part).substr(0, kExampleBytes);
}

void Build::write(const TextTile& tile, const Encoded& encoded) {
  for (size_t i = 0; i < tile.parts.size(); ++i) {
    const TextTile::Part& part = tile.parts[i];
    if (part.first) keep_example(tile, i);
    if (is_dropped(part.document)) continue;
    if (part.first) choose_side(tile, i);
    TokenStoreWriter& writer = document_is_valid_ ? *valid_ : *train_;
    const size_t begin = i == 0 ? 0 : encoded.ends[i - 1];
    writer.append(std::span(encoded.ids).subspan(begin, encoded.ends[i] - begin));
    document_bytes_ += tile.part_text(i).size();
    tokens_ += encoded.ends[i] - begin;
    if (!part.last) continue;
    writer.end_document(document_bytes_);
    document_bytes_ = 0;
    ++documents_;
    train_documents_ += !document_is_valid_;
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
  drop_duplicates();
  TextReader reader(corpus_, cuts_);
  ThreadTeam team(options_.threads);
  for_each_tile<Encoded>(
      reader, team, options_.stop,
      [&](const TextTile& tile, Encoded& encoded) { encode(tile, encoded); },
      [&](const TextTile& tile, const Encoded& encoded) { write(tile, encoded); },
      [&] { report_progress(reader); });
  if (documents_ == 0) fail_user("there is no text in {} but blanks", corpus_.files()[0].name);
  if (train_documents_ == 0 || (valid_ && train_documents_ == documents_))
    fail_user(
        "the {} part came out empty: give more text, another fraction (now {}), or --split {}",
        train_documents_ == 0 ? "training" : "validation", options_.valid_fraction,
        split_ == Split::tail ? "hash" : "tail");
  throw_if_stopped(options_.stop);
  BuildReport report;
  report.split = split_;
  report.duplicates = duplicates_.list.size();
  for (size_t i = 0; i < std::min(kExamples, duplicates_.list.size()); ++i) {
    const Duplicate& duplicate = duplicates_.list[i];
    report.examples.push_back(
        {example_texts_[duplicate.document], example_texts_[duplicate.of], duplicate.similarity});
  }
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
