#include "datasets/tokenizer/bpe_tokenizer.hpp"

#include "core/error.hpp"
#include "datasets/tokenizer/piece_cache.hpp"
#include "datasets/tokenizer/tokenizer_json.hpp"

#include <algorithm>
#include <limits>

namespace isoflop {

namespace {

/// Even when every byte becomes three tokens, positions fit an int32.
constexpr size_t kLongestPiece = std::numeric_limits<int32_t>::max() / 3;

}  // namespace

struct BpeTokenizer::Workspace {
  explicit Workspace(const PreTokenizer& rule) : splitter(rule) {}
  PreTokenizer::Splitter splitter;
  PieceMerger merger;
  PieceCache cache;
  std::vector<int32_t> piece_ids;
};

BpeTokenizer::BpeTokenizer(Vocabulary vocabulary, BpeRules given, const std::string& origin)
    : VocabularyTokenizer(std::move(vocabulary)),
      merges_(std::move(given.merges)),
      table_(merges_.size()),
      rule_(std::move(given.split), origin),
      unknown_(given.unknown) {
  byte_ids_.fill(-1);
  for (size_t id = 0; id < parts().tokens.size(); ++id) {
    const std::string& token = parts().tokens[id];
    if (parts().types[id] != TokenType::normal) continue;
    if (token.size() == 1)
      byte_ids_[static_cast<unsigned char>(token[0])] = static_cast<int32_t>(id);
    if (given.ignore_merges) whole_.emplace(token, static_cast<int32_t>(id));
  }
  for (size_t i = 0; i < merges_.size(); ++i) {
    const bool added = table_.add(merges_[i].first, merges_[i].second,
                                  {static_cast<int32_t>(i), given.results[i]});
    ISOFLOP_CHECK(added, "merge {} is given twice", i);
  }
  byte_by_byte_ =
      merges_.empty() && whole_.empty() && !BpeTokenizer::rules().space_prefix && !lossy();
}

bool BpeTokenizer::lossy() const {
  return std::find(byte_ids_.begin(), byte_ids_.end(), -1) != byte_ids_.end();
}

BpeTokenizer::~BpeTokenizer() = default;

void BpeTokenizer::encode_plain(
    std::string_view text, size_t begin, size_t size, bool more, std::vector<int32_t>& ids) const {
  if (byte_by_byte_) {
    for (const char c : text.substr(begin, size))
      ids.push_back(byte_ids_[static_cast<unsigned char>(c)]);
    return;
  }
  std::unique_ptr<Workspace> work = pool_.borrow(rule_);
  work->splitter.start(text.substr(begin, size), more);
  for (std::string_view piece; work->splitter.next(piece);) encode_piece(piece, *work, ids);
  pool_.give_back(std::move(work));
}

void BpeTokenizer::encode_piece(std::string_view piece,
                                Workspace& work,
                                std::vector<int32_t>& ids) const {
  if (work.cache.append(piece, ids)) return;
  merge_piece(piece, work);
  const std::vector<int32_t>& merged = work.piece_ids;
  ids.insert(ids.end(), merged.begin(), merged.end());
  work.cache.remember(piece, merged.data(), merged.size());
}

void BpeTokenizer::merge_piece(std::string_view piece, Workspace& work) const {
  std::vector<int32_t>& ids = work.piece_ids;
  ids.clear();
  if (const auto whole = whole_.find(piece); whole != whole_.end())
    return ids.push_back(whole->second);
  if (piece.size() > kLongestPiece)
    fail_user("a word of {} bytes is too long to tokenize; is this text?", piece.size());
  for (const char c : piece) {
    const unsigned char byte = static_cast<unsigned char>(c);
    const bool in_utf8 = byte != 0xC0 && byte != 0xC1 && byte < 0xF5;
    if (byte_ids_[byte] >= 0)
      ids.push_back(byte_ids_[byte]);
    else if (!in_utf8)
      for (const int replacement : {0xEF, 0xBF, 0xBD})
        ids.push_back(byte_ids_[static_cast<size_t>(replacement)]);
    else if (unknown_ >= 0)
      ids.push_back(unknown_);
  }
  work.merger.merge(table_, ids);
}

TokenizerRules BpeTokenizer::rules() const {
  TokenizerRules rules;
  rules.split = rule_.rule().name();
  if (rules.split.empty()) rules.split = "own";
  if (parts().nfc) rules.normalizer = "NFC";
  rules.ignore_merges = !whole_.empty();
  for (const SplitStep& step : rule_.rule().steps)
    rules.space_prefix = rules.space_prefix || step.kind == SplitStep::Kind::space_prefix;
  rules.lossy_bytes = lossy();
  return rules;
}

std::vector<std::string> BpeTokenizer::merges() const {
  std::vector<std::string> texts;
  texts.reserve(merges_.size());
  for (const auto& [left, right] : merges_)
    texts.push_back(token_text(left) + ' ' + token_text(right));
  return texts;
}

std::string BpeTokenizer::to_json() const {
  TokenizerFile file;
  file.form = TokenizerFile::Form::byte_level;
  for (int32_t id = 0; id < vocabulary(); ++id) file.tokens.push_back(token_text(id));
  file.merges = merges();
  file.added = parts().added;
  file.rule = rule_.rule();
  file.nfc = parts().nfc;
  file.ignore_merges = !whole_.empty();
  if (lossy() && unknown_ >= 0) file.unknown = token_bytes(unknown_);
  return write_tokenizer_json(file);
}

}  // namespace isoflop
