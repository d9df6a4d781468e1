#include "datasets/statistics.hpp"

#include "datasets/text_reader.hpp"
#include "datasets/token_documents.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace isoflop {

namespace {

// The first bytes of a text, cut between characters.
std::string beginning(std::string_view text, size_t bytes) {
  size_t end = std::min(bytes, text.size());
  while (end > 0 && end < text.size() && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end));
}

}  // namespace

LengthStatistics length_statistics(std::vector<uint64_t>& lengths) {
  LengthStatistics result;
  if (lengths.empty()) return result;
  std::sort(lengths.begin(), lengths.end());
  const auto quantile = [&](double q) {
    const double rank = std::ceil(q * static_cast<double>(lengths.size()));
    return lengths[static_cast<size_t>(std::max(rank, 1.0)) - 1];
  };
  result.count = lengths.size();
  result.total = std::accumulate(lengths.begin(), lengths.end(), uint64_t{0});
  result.least = lengths.front();
  result.p10 = quantile(0.1);
  result.median = quantile(0.5);
  result.p90 = quantile(0.9);
  result.p99 = quantile(0.99);
  result.most = lengths.back();
  return result;
}

CorpusStatistics corpus_statistics(const Corpus& corpus, size_t examples, size_t example_bytes) {
  constexpr size_t kCandidates = 1000;
  std::vector<uint64_t> lengths;
  std::vector<std::string> candidates;
  TextReader reader(corpus);
  for (TextPiece piece; reader.next(piece);) {
    if (piece.first) {
      lengths.push_back(0);
      if (candidates.size() < kCandidates)
        candidates.push_back(beginning(piece.text, example_bytes));
    }
    lengths.back() += piece.text.size();
  }
  CorpusStatistics result;
  const size_t count = std::min(examples, candidates.size());
  for (size_t i = 0; i < count; ++i)
    result.examples.push_back(candidates[i * candidates.size() / count]);
  result.bytes = length_statistics(lengths);
  return result;
}

StoreStatistics store_statistics(const TokenStore& store, size_t examples, size_t example_tokens) {
  std::vector<uint64_t> lengths, starts;
  for_each_document(store, [&](uint64_t first, uint64_t last) {
    lengths.push_back(last - first);
    starts.push_back(first);
    return true;
  });
  StoreStatistics result;
  const size_t count = std::min(examples, starts.size());
  for (size_t i = 0; i < count; ++i) {
    const size_t document = i * starts.size() / count;
    result.examples.push_back({starts[document], {}});
    result.examples.back().ids.resize(std::min<uint64_t>(lengths[document], example_tokens));
    store.read(starts[document], result.examples.back().ids);
  }
  result.tokens = length_statistics(lengths);
  return result;
}

}  // namespace isoflop
