// Duplicates: documents of a corpus that repeat an earlier one, found in a pass of their own.
//
// exact: the same bytes, told by a 128-bit hash. near: also those whose MinHash similarity to an
// earlier document that stays is at least the threshold. The first of a group stays. Memory: 48
// bytes a document, near 560 and 24 for each pair that shares a band; a document is compared with
// at most 9 earlier ones of a band, so a corpus made to collide takes no longer.
#pragma once
#include "datasets/corpus.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

enum class Dedup { off, exact, near };
Dedup parse_dedup(std::string_view name);  // off | exact | near; UserError otherwise

struct DedupOptions {
  Dedup kind = Dedup::exact;
  double threshold = 0.8;  // of near; from 0.5, below which bands find too little
  int threads = 0;
  const std::atomic<bool>* stop = nullptr;
  std::function<void(uint64_t bytes, uint64_t documents)> progress;
};

struct Duplicate {
  uint64_t document = 0;  // counted from 0 in the order of the corpus
  uint64_t of = 0;        // the earlier one that stays
  double similarity = 1;  // 1: the same bytes
};

struct Duplicates {
  std::vector<bool> drop;       // of each document
  std::vector<Duplicate> list;  // by document
  struct Place {
    uint64_t offset = 0;  // in the (unpacked) file
    uint32_t file = 0;    // of the corpus
  };
  std::vector<Place> places;  // of each document
};

/// `cuts` as for TextReader, so that documents are counted alike.
Duplicates find_duplicates(const Corpus& corpus,
                           const std::vector<uint64_t>& cuts,
                           const DedupOptions& options);

/// JSON lines, one a dropped document: document, file, offset, and the same with of_ for the one
/// that stays, similarity. IoError when it cannot be written.
void write_duplicates(const Duplicates& duplicates,
                      const Corpus& corpus,
                      const std::filesystem::path& file);

}  // namespace isoflop
