#include "datasets/tokenizer/word_counter.hpp"

#include "core/error.hpp"
#include "core/hash.hpp"

#include <algorithm>
#include <limits>

namespace isoflop {

namespace {

constexpr size_t kBuffer = 16 << 20;  // enough for every thread to have several tiles
constexpr size_t kTile = 256 << 10;

AddedTokens numbered(const std::vector<std::string>& texts) {
  std::vector<AddedTokens::Token> tokens;
  for (const std::string& text : texts) tokens.push_back({text, {}});
  return AddedTokens(std::move(tokens));
}

}  // namespace

WordTable::Slot& WordTable::find(uint64_t hash, std::string_view word) {
  size_t at = hash & (slots_.size() - 1);
  while (true) {
    Slot& slot = slots_[at];
    if (slot.count == 0) return slot;
    if (slot.hash == hash && std::string_view(text_).substr(slot.begin, slot.size) == word)
      return slot;
    at = (at + 1) & (slots_.size() - 1);
  }
}

void WordTable::add(std::string_view word, int64_t count) {
  if (word.size() > std::numeric_limits<uint32_t>::max())
    fail_user("a word of {} bytes is too long to train on; is this text?", word.size());
  const uint64_t hash = hash_text(word);
  Slot& slot = find(hash, word);
  slot.count += count;
  if (slot.count != count) return;  // was there before
  slot.hash = hash;
  slot.begin = text_.size();
  slot.size = static_cast<uint32_t>(word.size());
  text_ += word;
  if (2 * ++used_ > slots_.size()) grow();
}

void WordTable::grow() {
  std::vector<Slot> old(2 * slots_.size());
  old.swap(slots_);
  for (const Slot& slot : old)
    if (slot.count) find(slot.hash, std::string_view(text_).substr(slot.begin, slot.size)) = slot;
}

std::vector<WordCount> WordTable::words() const {
  std::vector<WordCount> result;
  result.reserve(used_);
  for (const Slot& slot : slots_)
    if (slot.count) result.push_back({text_.substr(slot.begin, slot.size), slot.count});
  return result;
}

WordCounter::WordCounter(const std::vector<std::string>& special_tokens, int threads)
    : specials_(numbered(special_tokens)),
      rule_(PreTokenizer::gpt2()),
      team_(threads),
      tables_(static_cast<size_t>(team_.size())) {}

void WordCounter::add(std::string_view text) {
  buffer_ += text;
  ends_.push_back(buffer_.size());
  if (buffer_.size() >= kBuffer) count_buffered();
}

void WordCounter::count_buffered() {
  const std::string_view all = buffer_;
  std::vector<std::string_view> tiles;
  const auto cut = [&](std::string_view plain) {
    while (!plain.empty()) {
      const size_t size = PreTokenizer::safe_cut(plain, std::min(kTile, plain.size()));
      tiles.push_back(plain.substr(0, size));
      plain.remove_prefix(size);
    }
  };
  size_t begin = 0;
  for (const size_t end : ends_) {
    specials_.split(all.substr(begin, end - begin), true, cut, [](int32_t) {});
    begin = end;
  }
  team_.run(static_cast<int64_t>(tiles.size()), [&](int64_t tile, int thread) {
    PreTokenizer::Splitter splitter(rule_);
    splitter.start(tiles[static_cast<size_t>(tile)]);
    for (std::string_view word; splitter.next(word);)
      tables_[static_cast<size_t>(thread)].add(word, 1);
  });
  buffer_.clear();
  ends_.clear();
}

std::vector<WordCount> WordCounter::finish() {
  count_buffered();
  WordTable& total = tables_[0];
  for (size_t i = 1; i < tables_.size(); ++i) {
    for (const WordCount& word : tables_[i].words()) total.add(word.word, word.count);
    tables_[i] = WordTable();
  }
  std::vector<WordCount> words = total.words();
  total = WordTable();
  std::sort(words.begin(), words.end(),
            [](const WordCount& a, const WordCount& b) { return a.word < b.word; });
  return words;
}

}  // namespace isoflop
