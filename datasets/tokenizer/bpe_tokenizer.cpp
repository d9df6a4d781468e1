#include "datasets/tokenizer/bpe_tokenizer.hpp"

#include "core/error.hpp"
#include "core/hash.hpp"
#include "datasets/tokenizer/tokenizer_json.hpp"

#include <algorithm>
#include <cstring>
#include <limits>

namespace isoflop {

namespace {

/// Text repeats its words: a direct-mapped table of pieces and their ids, one cache line each.
class PieceCache {
 public:
  struct Entry {
    static constexpr size_t kBytes = 23;
    static constexpr size_t kIds = 9;
    char bytes[kBytes];
    uint8_t size;  // 0: unused
    int32_t count;
    int32_t ids[kIds];
  };
  static_assert(sizeof(Entry) == 64);

  PieceCache() : entries_(kEntries) {}

  Entry& entry(std::string_view piece) { return entries_[hash_text(piece) % kEntries]; }

 private:
  static constexpr size_t kEntries = 1 << 15;  // 2 MiB
  std::vector<Entry> entries_;
};

}  // namespace

struct BpeTokenizer::Workspace {
  explicit Workspace(const PreTokenizer& rule) : splitter(rule) {}
  PreTokenizer::Splitter splitter;
  PieceMerger merger;
  PieceCache cache;
  std::vector<int32_t> piece_ids;
};

BpeTokenizer::BpeTokenizer(Vocabulary vocabulary,
                           std::vector<std::pair<int32_t, int32_t>> merges,
                           const std::vector<int32_t>& results)
    : VocabularyTokenizer(std::move(vocabulary)),
      merges_(std::move(merges)),
      table_(merges_.size()),
      rule_(PreTokenizer::gpt2()) {
  for (size_t id = 0; id < parts().tokens.size(); ++id) {
    const std::string& token = parts().tokens[id];
    if (token.size() == 1 && !parts().is_special[id])
      byte_ids_[static_cast<unsigned char>(token[0])] = static_cast<int32_t>(id);
  }
  for (size_t i = 0; i < merges_.size(); ++i) {
    const bool added =
        table_.add(merges_[i].first, merges_[i].second, {static_cast<int32_t>(i), results[i]});
    ISOFLOP_CHECK(added, "merge {} is given twice", i);
  }
}

BpeTokenizer::~BpeTokenizer() = default;

std::unique_ptr<BpeTokenizer::Workspace> BpeTokenizer::borrow() const {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<Workspace> work = std::move(idle_.back());
      idle_.pop_back();
      return work;
    }
  }
  return std::make_unique<Workspace>(rule_);
}

void BpeTokenizer::encode_plain(std::string_view text,
                                size_t begin,
                                size_t size,
                                std::vector<int32_t>& ids) const {
  const std::string_view plain = text.substr(begin, size);
  if (merges_.empty()) {
    for (const char c : plain) ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
    return;
  }
  std::unique_ptr<Workspace> work = borrow();
  work->splitter.start(plain);
  for (std::string_view piece; work->splitter.next(piece);) encode_piece(piece, *work, ids);
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(work));
}

void BpeTokenizer::encode_piece(std::string_view piece,
                                Workspace& work,
                                std::vector<int32_t>& ids) const {
  using Entry = PieceCache::Entry;
  Entry* entry = piece.size() <= Entry::kBytes ? &work.cache.entry(piece) : nullptr;
  if (entry && piece == std::string_view(entry->bytes, entry->size)) {
    ids.insert(ids.end(), entry->ids, entry->ids + entry->count);
    return;
  }
  if (piece.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
    fail_user("a word of {} bytes is too long to tokenize; is this text?", piece.size());
  std::vector<int32_t>& merged = work.piece_ids;
  merged.clear();
  for (const char c : piece) merged.push_back(byte_ids_[static_cast<unsigned char>(c)]);
  work.merger.merge(table_, merged);
  ids.insert(ids.end(), merged.begin(), merged.end());
  if (!entry || merged.size() > Entry::kIds) return;
  std::memcpy(entry->bytes, piece.data(), piece.size());
  entry->size = static_cast<uint8_t>(piece.size());
  entry->count = static_cast<int32_t>(merged.size());
  std::copy(merged.begin(), merged.end(), entry->ids);
}

std::vector<std::string> BpeTokenizer::merges() const {
  std::vector<std::string> texts;
  texts.reserve(merges_.size());
  for (const auto& [left, right] : merges_)
    texts.push_back(token_text(left) + ' ' + token_text(right));
  return texts;
}

std::string BpeTokenizer::to_json() const {
  TokenizerFile file{TokenizerFile::Form::byte_level, {}, merges(), parts().special_ids};
  for (int32_t id = 0; id < vocabulary(); ++id) file.tokens.push_back(token_text(id));
  return write_tokenizer_json(file);
}

}  // namespace isoflop
