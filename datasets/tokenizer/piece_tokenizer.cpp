#include "datasets/tokenizer/piece_tokenizer.hpp"

#include "core/error.hpp"
#include "core/utf8.hpp"
#include "datasets/tokenizer/added_tokens.hpp"
#include "datasets/tokenizer/piece_cache.hpp"
#include "datasets/tokenizer/piece_json.hpp"
#include "datasets/tokenizer/piece_merges.hpp"
#include "datasets/tokenizer/workspace_pool.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <utility>

namespace isoflop {

namespace {

constexpr char kSpaceText[] = "\u2581";
constexpr char32_t kSpace = 0x2581;
constexpr char kUnknownText[] = " \u2047 ";  // what SentencePiece decodes <unk> to
constexpr size_t kLargestVocabulary = 1 << 24;

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

std::string with_spaces(std::string_view piece) {
  std::string text;
  for (size_t at = 0; at < piece.size();) {
    const size_t space = std::min(piece.find(kSpaceText, at), piece.size());
    text += piece.substr(at, space - at);
    if (space < piece.size()) text += ' ';
    at = std::min(space + sizeof(kSpaceText) - 1, piece.size());
  }
  return text;
}

/// What a model must be for everything below to hold.
void check(const PieceModel& model, const std::string& origin) {
  if (model.pieces.empty()) fail_format("{}: there are no pieces", origin);
  if (model.pieces.size() > kLargestVocabulary)
    fail_format("{}: {} pieces are more than the {} we take", origin, model.pieces.size(),
                kLargestVocabulary);
  std::unordered_map<std::string_view, size_t> seen;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const PieceModel::Piece& piece = model.pieces[id];
    if (piece.text.empty()) fail_format("{}: piece {} is empty", origin, id);
    if (valid_utf8_prefix(piece.text) != piece.text.size())
      fail_format("{}: piece {} {} is not UTF-8", origin, id, in_quotes(piece.text));
    if (!std::isfinite(piece.score))
      fail_format("{}: the score of piece {} is not a number", origin, id);
    const bool added = piece.type == TokenType::control || piece.type == TokenType::user ||
                       piece.type == TokenType::unknown;
    if (added && piece.text.size() > AddedTokens::kLongest)
      fail_user("{}: piece {} has {} bytes; at most {} are taken", origin, id, piece.text.size(),
                AddedTokens::kLongest);
    const auto [other, fresh] = seen.emplace(piece.text, id);
    if (!fresh)
      fail_format("{}: pieces {} and {} are both {}", origin, other->second, id,
                  in_quotes(piece.text));
  }
}

class PieceTokenizer final : public Tokenizer {
 public:
  PieceTokenizer(PieceModel model, const std::string& origin)
      : model_(std::move(model)), merges_(model_) {
    find_bytes(origin);
    std::vector<AddedTokens::Token> controls, users;
    for (size_t i = 0; i < model_.pieces.size(); ++i) {
      const PieceModel::Piece& piece = model_.pieces[i];
      const int32_t id = static_cast<int32_t>(i);
      decoded_.push_back(decoded(piece));
      if (piece.type == TokenType::user)
        users.push_back({piece.text, {.id = id, .special = false}});
      if (piece.type == TokenType::control || piece.type == TokenType::unknown)
        controls.push_back({piece.text, {.id = id}});
      if (piece.type == TokenType::control && model_.separator < 0) model_.separator = id;
    }
    controls_ = AddedTokens(std::move(controls));
    users_ = AddedTokens(std::move(users));
    if (model_.separator >= 0 && !is_special(model_.separator))
      fail_format("{}: the separator {} is not a control piece", origin, model_.separator);
  }

  Kind kind() const override { return Kind::sentencepiece; }
  int vocabulary() const override { return static_cast<int>(model_.pieces.size()); }
  int separator() const override { return model_.separator; }
  bool is_special(int32_t id) const override {
    return type(id) == TokenType::control || type(id) == TokenType::unknown;
  }
  TokenType type(int32_t id) const override { return piece(id).type; }
  float score(int32_t id) const override { return piece(id).score; }
  std::string token_text(int32_t id) const override { return piece(id).text; }
  std::vector<std::string> merges() const override { return {}; }
  std::string to_json() const override { return write_piece_json(model_, merges_.texts()); }
  std::string token_bytes(int32_t id) const override {
    piece(id);
    return decoded_[static_cast<size_t>(id)];
  }
  TokenizerRules rules() const override {
    TokenizerRules rules;
    rules.space_prefix = model_.space_prefix;
    rules.collapse_spaces = model_.collapse_spaces;
    rules.byte_fallback = bytes_[0] >= 0;
    rules.lossy_bytes = true;
    return rules;
  }

  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    for (const int32_t id : ids) {
      piece(id);
      text += decoded_[static_cast<size_t>(id)];
    }
    return text;
  }

  void encode(std::string_view text, std::vector<int32_t>& ids, bool special) const override {
    encode(text, ids, special, true);
  }
  void encode_more(std::string_view text, std::vector<int32_t>& ids) const override {
    encode(text, ids, false, false);
  }

 private:
  void encode(std::string_view text, std::vector<int32_t>& ids, bool special, bool starts) const {
    std::unique_ptr<Workspace> work = pool_.borrow();
    controls_.split(
        text, special,
        [&](std::string_view plain) {
          const std::string normalized = normalize(plain, starts);
          users_.split(
              normalized, false,
              [&](std::string_view stretch) { encode_stretch(stretch, *work, ids); },
              [&](int32_t id) { ids.push_back(id); });
        },
        [&](int32_t id) { ids.push_back(id); });
    pool_.give_back(std::move(work));
  }

  struct Workspace {
    PieceMerger merger;
    PieceCache cache;
    std::vector<int32_t> symbols;
  };

  const PieceModel::Piece& piece(int32_t id) const {
    if (id < 0 || id >= vocabulary())
      fail_user("token id {} is outside the tokenizer's vocabulary of {}", id, vocabulary());
    return model_.pieces[static_cast<size_t>(id)];
  }

  static std::string decoded(const PieceModel::Piece& piece) {
    if (piece.type == TokenType::unknown) return kUnknownText;
    if (piece.type == TokenType::byte)
      return std::string(1, static_cast<char>(std::stoi(piece.text.substr(3, 2), nullptr, 16)));
    if (piece.type == TokenType::normal || piece.type == TokenType::user)
      return with_spaces(piece.text);
    return piece.text;
  }

  void find_bytes(const std::string& origin) {
    bytes_.fill(-1);
    int found = 0;
    for (size_t id = 0; id < model_.pieces.size(); ++id) {
      const PieceModel::Piece& piece = model_.pieces[id];
      if (piece.type == TokenType::unknown && unknown_ < 0) unknown_ = static_cast<int32_t>(id);
      if (piece.type != TokenType::byte) continue;
      int byte = 0;
      while (byte < 256 && fmt::format("<0x{:02X}>", byte) != piece.text) ++byte;
      if (byte == 256)
        fail_format("{}: piece {} {} is no byte, such as <0x0A>", origin, id,
                    in_quotes(piece.text));
      bytes_[static_cast<size_t>(byte)] = static_cast<int32_t>(id);
      ++found;
    }
    if (found != 0 && found != 256)
      fail_format("{}: only {} of the 256 bytes have a piece", origin, found);
    if (found == 0 && unknown_ < 0)
      fail_format("{}: there is no piece for the unknown, nor are there bytes", origin);
  }

  /// As SentencePiece's normalizer does without a map of characters; what it does to the beginning
  /// of a text where the text `starts` here.
  std::string normalize(std::string_view text, bool starts) const {
    const bool collapse = model_.collapse_spaces;
    if (collapse && starts) text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    std::string out;
    if (text.empty()) return out;
    if (model_.space_prefix && starts) out += kSpaceText;
    bool behind_space = collapse && starts;
    while (!text.empty()) {
      const CodePoint point = first_code_point(text);
      const size_t bytes = point.bytes == 0 ? 1 : static_cast<size_t>(point.bytes);
      if (point.value != ' ' || point.bytes == 0)
        out += point.bytes == 0 ? "\uFFFD" : text.substr(0, bytes);
      else if (!behind_space)
        out += kSpaceText;
      behind_space = collapse && point.value == ' ';
      text.remove_prefix(bytes);
    }
    while (collapse && ends_with(out, kSpaceText)) out.resize(out.size() - sizeof(kSpaceText) + 1);
    return out;
  }

  /// Cuts where no piece can reach across: before a space, where no piece has the character before
  /// it in front of a space, and around characters that no piece joins with others.
  void encode_stretch(std::string_view text, Workspace& work, std::vector<int32_t>& ids) const {
    const size_t first = ids.size();
    size_t begin = 0;
    bool before_crosses = true;
    for (size_t at = 0; at < text.size();) {
      const CodePoint point = first_code_point(text.substr(at));
      const size_t next = at + static_cast<size_t>(point.bytes);
      const PieceMerges::Character character = merges_.character(point.value);
      if (!character.joins) {
        encode_word(text.substr(begin, at - begin), first, work, ids);
        append(character.id, first, ids);
        begin = next;
      } else if (point.value == kSpace && !before_crosses) {
        encode_word(text.substr(begin, at - begin), first, work, ids);
        begin = at;
      }
      before_crosses = character.crosses;
      at = next;
    }
    encode_word(text.substr(begin), first, work, ids);
  }

  void encode_word(std::string_view word,
                   size_t first,
                   Workspace& work,
                   std::vector<int32_t>& ids) const {
    if (word.empty() || work.cache.append(word, ids)) return;
    if (word.size() > static_cast<size_t>(std::numeric_limits<int32_t>::max()))
      fail_user("a word of {} bytes is too long to tokenize; is this text?", word.size());
    work.symbols.clear();
    for (std::string_view rest = word; !rest.empty();) {
      const CodePoint point = first_code_point(rest);
      work.symbols.push_back(merges_.character(point.value).id);
      rest.remove_prefix(static_cast<size_t>(point.bytes));
    }
    work.merger.merge(merges_.table(), work.symbols);
    const size_t begin = ids.size();
    for (const int32_t symbol : work.symbols) append(symbol, first, ids);
    const bool whole = std::all_of(work.symbols.begin(), work.symbols.end(),
                                   [](int32_t symbol) { return symbol < kFirstCharacterId; });
    if (whole) work.cache.remember(word, ids.data() + begin, ids.size() - begin);
  }

  /// A piece as it is; a character as its bytes, or as <unk>, once for a run of them.
  void append(int32_t symbol, size_t first, std::vector<int32_t>& ids) const {
    if (symbol < kFirstCharacterId) return ids.push_back(symbol);
    if (bytes_[0] < 0) {
      if (ids.size() == first || ids.back() != unknown_) ids.push_back(unknown_);
      return;
    }
    std::string text;
    append_utf8(text, static_cast<char32_t>(symbol - kFirstCharacterId));
    for (const char c : text) ids.push_back(bytes_[static_cast<unsigned char>(c)]);
  }

  PieceModel model_;
  PieceMerges merges_;
  int32_t unknown_ = -1;
  std::array<int32_t, 256> bytes_{};
  std::vector<std::string> decoded_;
  AddedTokens controls_, users_;
  mutable WorkspacePool<Workspace> pool_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_piece_tokenizer(PieceModel model, const std::string& origin) {
  check(model, origin);
  for (PieceModel::Piece& piece : model.pieces) piece.score += 0.0f;  // -0 is 0
  return std::make_unique<PieceTokenizer>(std::move(model), origin);
}

}  // namespace isoflop
