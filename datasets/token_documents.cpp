#include "datasets/token_documents.hpp"

#include "core/error.hpp"
#include "core/math.hpp"

#include <algorithm>

namespace isoflop {

namespace {

constexpr uint64_t kChunk = 1 << 16;  // tokens looked at together

// Calls work(ids, first) for tokens [first, last) in chunks.
template <class Work>
void read_chunks(const TokenStore& store, uint64_t first, uint64_t last, Work&& work) {
  std::vector<int32_t> ids(std::min(kChunk, last - first));
  for (; first < last; first += ids.size()) {
    ids.resize(std::min<uint64_t>(ids.size(), last - first));
    store.read(first, ids);
    if (!work(std::span<const int32_t>(ids), first)) return;
  }
}

int32_t token_at(const TokenStore& store, uint64_t place) {
  int32_t id = 0;
  store.read(place, std::span(&id, 1));
  return id;
}

}  // namespace

void for_each_document(const TokenStore& store,
                       const std::function<bool(uint64_t first, uint64_t last)>& work) {
  const int32_t separator = store.info().separator;
  for (uint64_t i = 0; i < store.info().documents; ++i) {
    uint64_t first = store.document_offset(i), last = store.document_offset(i + 1);
    while (separator >= 0 && first < last && token_at(store, first) == separator) ++first;
    while (separator >= 0 && first < last && token_at(store, last - 1) == separator) --last;
    if (first < last && !work(first, last)) return;
  }
  if (store.info().documents > 0) return;
  uint64_t start = 0;
  bool more = true;
  read_chunks(store, 0, store.tokens(), [&](std::span<const int32_t> ids, uint64_t first) {
    for (auto at = ids.begin(); more; ++at) {
      at = std::find(at, ids.end(), separator);
      if (at == ids.end()) break;
      const uint64_t place = first + static_cast<uint64_t>(at - ids.begin());
      if (place > start) more = work(start, place);
      start = place + 1;
    }
    return more;
  });
  if (more && start < store.tokens()) work(start, store.tokens());
}

TokenBytes::TokenBytes(const Tokenizer& tokenizer) {
  for (int32_t id = 0; id < tokenizer.vocabulary(); ++id)
    bytes_.push_back(tokenizer.is_special(id) ? 0
                                              : narrow<uint32_t>(tokenizer.token_bytes(id).size()));
}

uint64_t TokenBytes::of(const TokenStore& store, uint64_t first, uint64_t last) const {
  ISOFLOP_CHECK(static_cast<size_t>(store.info().vocabulary) <= bytes_.size(),
                "{} has another vocabulary", store.path().string());
  uint64_t sum = 0;
  read_chunks(store, first, last, [&](std::span<const int32_t> ids, uint64_t) {
    for (const int32_t id : ids) sum += bytes_[static_cast<size_t>(id)];
    return true;
  });
  return sum;
}

}  // namespace isoflop
