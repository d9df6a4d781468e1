// build_stores: text in, token stores out. Tokenizes on all threads; the files depend on the
// content, the tokenizer and the options alone, never on the number of threads.
//
// Memory stays bounded whatever the size of the text: a batch of text and its ids (about 2 MB per
// thread, 16 MB at least), and 8 bytes per document.
#pragma once
#include "datasets/corpus.hpp"
#include "datasets/duplicates.hpp"
#include "datasets/tokenizer.hpp"

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct BuildProgress {
  uint64_t bytes_done = 0;
  uint64_t bytes_total = 0;
  uint64_t tokens = 0;
  uint64_t documents = 0;
  double seconds = 0;       // since the start
  double seconds_left = 0;  // at the mean speed so far
};

/// Which text is kept for validation. hash: whole documents, those whose xxh3 (of the first 256 KB)
/// falls below the fraction, so a document stays on its side whatever else is in the corpus. tail:
/// the last part of each file. automatic: tail when there are fewer than 20 documents.
enum class Split { automatic, hash, tail };
Split parse_split(std::string_view name);  // auto | hash | tail; UserError otherwise

struct BuildOptions {
  std::filesystem::path out;
  std::filesystem::path valid_out;  // empty: no validation store
  double valid_fraction = 0.01;
  Split split = Split::automatic;
  bool overwrite = false;    // otherwise existing outputs are refused
  int threads = 0;           // 0 = all usable cores
  Dedup dedup = Dedup::off;  // repeated documents are left out
  double dedup_threshold = 0.8;
  std::filesystem::path dedup_report;  // write_duplicates goes here, unless empty
  std::function<void(const BuildProgress&)>
      progress;                             // called between batches, on the caller's thread
  const std::atomic<bool>* stop = nullptr;  // looked at between batches and before each tile
};

struct StoreReport {
  uint64_t tokens = 0;
  uint64_t documents = 0;
  uint64_t bytes = 0;  // of text, separators not counted
};

/// How two documents begin, of which one was left out.
struct DuplicateExample {
  std::string dropped, kept;
  double similarity = 1;
};

struct BuildReport {
  StoreReport train;
  StoreReport valid;
  Split split = Split::automatic;  // what automatic became, where there is a validation store
  uint64_t duplicates = 0;         // documents left out
  std::vector<DuplicateExample> examples;  // of them, the first few
};

/// UserError before work starts when an option or an output cannot be used, and when a part comes
/// out empty; Error(ExitCode::kInterrupted) when `stop` is set. `valid_out` is put in place just
/// before `out`, so `out` exists only when everything does; nothing half-written is left behind.
BuildReport build_stores(const Corpus& corpus,
                         const Tokenizer& tokenizer,
                         const BuildOptions& options);

}  // namespace isoflop
