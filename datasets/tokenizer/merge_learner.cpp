#include "datasets/tokenizer/merge_learner.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>

namespace isoflop {

namespace {

uint64_t pair_key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}
int32_t left_of(uint64_t pair) {
  return static_cast<int32_t>(pair >> 32);
}
int32_t right_of(uint64_t pair) {
  return static_cast<int32_t>(pair & 0xFFFFFFFF);
}

}  // namespace

bool MergeLearner::Worse::operator()(const Candidate& a, const Candidate& b) const {
  if (a.count != b.count) return a.count < b.count;
  const auto text = [&](int32_t id) -> const std::string& {
    return (*tokens)[static_cast<size_t>(id)];
  };
  const int left = text(left_of(a.pair)).compare(text(left_of(b.pair)));
  return left != 0 ? left < 0 : text(right_of(a.pair)) < text(right_of(b.pair));
}

MergeLearner::MergeLearner(const std::vector<WordCount>& words, std::vector<std::string> tokens)
    : tokens_(std::move(tokens)), heap_(Worse{&tokens_}) {
  for (size_t id = 0; id < tokens_.size(); ++id)
    ids_.emplace(tokens_[id], static_cast<int32_t>(id));
  lay_out(words);
}

void MergeLearner::lay_out(const std::vector<WordCount>& words) {
  size_t total = 0;
  for (const WordCount& word : words) total += word.word.size();
  if (total >= kEnd)
    fail_user(
        "the different words of this text make {} bytes, too many to train on; give less text",
        total);
  symbol_.reserve(total);
  previous_.reserve(total);
  next_.reserve(total);
  word_.reserve(total);
  for (const WordCount& word : words) {
    const uint32_t begin = static_cast<uint32_t>(symbol_.size());
    const uint32_t end = begin + static_cast<uint32_t>(word.word.size());
    for (uint32_t at = begin; at < end; ++at) {
      symbol_.push_back(ids_.at(word.word.substr(at - begin, 1)));
      previous_.push_back(at == begin ? kEnd : at - 1);
      next_.push_back(at + 1 == end ? kEnd : at + 1);
      word_.push_back(static_cast<uint32_t>(word_count_.size()));
      if (at > begin) change(symbol_[at - 1], symbol_[at], word.count, at - 1);
    }
    word_count_.push_back(word.count);
  }
}

void MergeLearner::change(int32_t left, int32_t right, int64_t count, uint32_t place) {
  const PairKey key = pair_key(left, right);
  PairState& pair = pairs_[key];
  pair.count += count;
  if (count < 0) return;
  if (pair.places.empty() || grown_.empty() || grown_.back() != key) grown_.push_back(key);
  pair.places.push_back(place);
}

void MergeLearner::learn(size_t vocabulary) {
  Candidate best{};
  while (tokens_.size() < vocabulary && next_candidate(best)) apply(best.pair);
}

/// The best pair with its true count. An entry whose pair has fewer by now goes back with that
/// count.
bool MergeLearner::next_candidate(Candidate& best) {
  std::sort(grown_.begin(), grown_.end());
  grown_.erase(std::unique(grown_.begin(), grown_.end()), grown_.end());
  for (const PairKey key : grown_)
    if (const auto pair = pairs_.find(key); pair != pairs_.end() && pair->second.count > 0)
      heap_.push({pair->second.count, key});
  grown_.clear();

  while (!heap_.empty()) {
    best = heap_.top();
    heap_.pop();
    const auto pair = pairs_.find(best.pair);
    if (pair == pairs_.end() || pair->second.count <= 0) continue;
    if (pair->second.count == best.count) return true;
    if (pair->second.count < best.count) heap_.push({pair->second.count, best.pair});
  }
  return false;
}

/// Two merges may make the same text ("a bc", "ab c"); it stays one token.
int32_t MergeLearner::token_of(std::string&& text) {
  const auto [found, fresh] = ids_.emplace(std::move(text), static_cast<int32_t>(tokens_.size()));
  if (fresh) tokens_.push_back(found->first);
  return found->second;
}

void MergeLearner::apply(PairKey pair) {
  const int32_t left = left_of(pair);
  const int32_t right = right_of(pair);
  const int32_t merged =
      token_of(tokens_[static_cast<size_t>(left)] + tokens_[static_cast<size_t>(right)]);
  merges_.emplace_back(left, right);

  std::vector<uint32_t> places = std::move(pairs_[pair].places);
  std::sort(places.begin(), places.end());  // from left to right: "aaa" becomes (aa, a)
  for (const uint32_t at : places) {
    const uint32_t after = next_[at];
    if (symbol_[at] == left && after != kEnd && symbol_[after] == right) join(at, after, merged);
  }
  pairs_.erase(pair);
}

void MergeLearner::join(uint32_t left, uint32_t right, int32_t merged) {
  const int64_t count = word_count_[word_[left]];
  const uint32_t before = previous_[left];
  const uint32_t after = next_[right];
  if (before != kEnd) {
    change(symbol_[before], symbol_[left], -count, before);
    change(symbol_[before], merged, count, before);
  }
  if (after != kEnd) {
    change(symbol_[right], symbol_[after], -count, right);
    change(merged, symbol_[after], count, left);
    previous_[after] = left;
  }
  symbol_[left] = merged;
  symbol_[right] = -1;
  next_[left] = after;
}

}  // namespace isoflop
