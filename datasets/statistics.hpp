// What a corpus or a token store is like: how many documents, how long they are, how some begin.
#pragma once
#include "datasets/corpus.hpp"
#include "datasets/token_store.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace isoflop {

struct LengthStatistics {
  uint64_t count = 0, total = 0;
  uint64_t least = 0, p10 = 0, median = 0, p90 = 0, p99 = 0, most = 0;
  double mean() const {
    return count ? static_cast<double>(total) / static_cast<double>(count) : 0;
  }
};
/// A quantile q is the smallest length that at least q of them do not exceed. Reorders `lengths`.
LengthStatistics length_statistics(std::vector<uint64_t>& lengths);

struct CorpusStatistics {
  LengthStatistics bytes;             // of the documents
  std::vector<std::string> examples;  // beginnings of documents, spread over the first 1,000
};
/// Reads all of the text. Memory: 8 bytes a document.
CorpusStatistics corpus_statistics(const Corpus& corpus, size_t examples, size_t example_bytes);

struct StoreStatistics {
  LengthStatistics tokens;  // of the documents, separators left out
  struct Example {
    uint64_t first_token = 0;
    std::vector<int32_t> ids;
  };
  std::vector<Example> examples;  // beginnings of documents, evenly spread over the store
};
StoreStatistics store_statistics(const TokenStore& store, size_t examples, size_t example_tokens);

}  // namespace isoflop
