// PieceCache: text repeats its words. A direct-mapped table of pieces and their ids, one cache line
// each; one per thread.
#pragma once
#include "core/hash.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace isoflop {

class PieceCache {
 public:
  PieceCache() : entries_(kEntries) {}

  /// Appends the ids of the piece if they are known.
  bool append(std::string_view piece, std::vector<int32_t>& ids) const {
    if (piece.size() > kBytes) return false;
    const Entry& entry = entries_[hash_text(piece) % kEntries];
    if (piece != std::string_view(entry.bytes, entry.size)) return false;
    ids.insert(ids.end(), entry.ids, entry.ids + entry.count);
    return true;
  }

  void remember(std::string_view piece, const int32_t* ids, size_t count) {
    if (piece.size() > kBytes || count > kIds) return;
    Entry& entry = entries_[hash_text(piece) % kEntries];
    std::memcpy(entry.bytes, piece.data(), piece.size());
    entry.size = static_cast<uint8_t>(piece.size());
    entry.count = static_cast<int32_t>(count);
    std::copy_n(ids, count, entry.ids);
  }

 private:
  static constexpr size_t kBytes = 23;
  static constexpr size_t kIds = 9;
  struct Entry {
    char bytes[kBytes];
    uint8_t size;  // 0: unused; no piece is empty
    int32_t count;
    int32_t ids[kIds];
  };
  static_assert(sizeof(Entry) == 64);

  static constexpr size_t kEntries = 1 << 15;  // 2 MiB
  std::vector<Entry> entries_;
};

}  // namespace isoflop
