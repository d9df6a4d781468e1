#include "datasets/tokenizer/gguf_tokenizer.hpp"

#include "core/error.hpp"
#include "core/utf8.hpp"
#include "datasets/tokenizer/gguf_keys.hpp"
#include "datasets/tokenizer/make_tokenizer.hpp"
#include "datasets/tokenizer/piece_tokenizer.hpp"

#include <algorithm>
#include <utility>

namespace isoflop {

namespace {

constexpr TokenType kTypes[] = {TokenType::normal, TokenType::unknown, TokenType::control,
                                TokenType::user,   TokenType::unused,  TokenType::byte};

class Reader {
 public:
  explicit Reader(const GgufFile& file) : file_(file) {
    const std::vector<std::string_view> tokens = file.texts(gguf::kTokens);
    texts_.assign(tokens.begin(), tokens.end());
    types_.assign(texts_.size(), TokenType::normal);
    if (file.find(gguf::kTokenTypes)) read_types();
    while (!texts_.empty() && types_[texts_.size() - 1] == TokenType::unused) texts_.pop_back();
    const uint32_t end = file.find_u32(gguf::kEosId).value_or(~0u);
    if (end < texts_.size() && types_[end] == TokenType::control)
      separator_ = static_cast<int>(end);
  }

  std::unique_ptr<Tokenizer> byte_level() {
    TokenizerParts parts;
    parts.separator = separator_;
    // Files from before the key existed are GPT-2's own.
    const std::string_view name = file_.find_text(gguf::kSplitting).value_or(gguf::kGpt2Splitting);
    const auto rule = SplitRule::find(name);
    if (!rule)
      fail_user("{}: splitting rule {} is not supported ({})", file_.origin(), in_quotes(name),
                gguf::kSplitting);
    parts.rule = *rule;
    parts.ignore_merges = rule->name() == "llama-bpe";
    if (file_.find_boolean(gguf::kSpacePrefix).value_or(false))
      fail_user("{}: {} is not supported for byte-level BPE", file_.origin(), gguf::kSpacePrefix);
    const std::vector<std::string_view> merges = file_.texts(gguf::kMerges);
    parts.merges.assign(merges.begin(), merges.end());
    for (size_t id = 0; id < texts_.size(); ++id) {
      const TokenType type = types_[id];
      if (type == TokenType::byte)
        fail_format("{}: token {} is of the type byte, which byte-level BPE has not",
                    file_.origin(), id);
      if (type != TokenType::normal)  // unused ones as well: their texts are in no remapping
        parts.added.push_back({.id = static_cast<int32_t>(id), .special = type != TokenType::user});
    }
    parts.token_texts = std::move(texts_);
    return make_tokenizer(parts, file_.origin());
  }

  std::unique_ptr<Tokenizer> pieces() {
    PieceModel model;
    model.separator = separator_;
    model.space_prefix = file_.find_boolean(gguf::kSpacePrefix).value_or(true);
    model.collapse_spaces = file_.find_boolean(gguf::kCollapseSpaces).value_or(false);
    const std::vector<float> scores = file_.f32s(gguf::kScores);
    if (scores.size() < texts_.size())
      fail_format("{}: key {} has {} entries for {} tokens", file_.origin(), gguf::kScores,
                  scores.size(), texts_.size());
    for (size_t id = 0; id < texts_.size(); ++id)
      model.pieces.push_back({std::move(texts_[id]), scores[id], types_[id]});
    return make_piece_tokenizer(std::move(model), file_.origin());
  }

 private:
  void read_types() {
    const std::vector<int32_t> types = file_.i32s(gguf::kTokenTypes);
    if (types.size() < texts_.size())
      fail_format("{}: key {} has {} entries for {} tokens", file_.origin(), gguf::kTokenTypes,
                  types.size(), texts_.size());
    for (size_t id = 0; id < texts_.size(); ++id) {
      if (types[id] < 1 || types[id] > 6)
        fail_format("{}: {}[{}] is {}, not one of 1 to 6", file_.origin(), gguf::kTokenTypes, id,
                    types[id]);
      types_[id] = kTypes[types[id] - 1];
    }
  }

  const GgufFile& file_;
  std::vector<std::string> texts_;
  std::vector<TokenType> types_;
  int separator_ = -1;
};

}  // namespace

std::unique_ptr<Tokenizer> read_gguf_tokenizer(const GgufFile& file) {
  const std::string_view model = file.text(gguf::kTokenizerModel);
  if (model == gguf::kByteLevelModel) return Reader(file).byte_level();
  if (model == gguf::kPieceModel) return Reader(file).pieces();
  fail_user(
      "{}: tokenizer {} is not supported, only byte-level BPE (\"{}\") and SentencePiece (\"{}\")",
      file.origin(), in_quotes(model), gguf::kByteLevelModel, gguf::kPieceModel);
}

}  // namespace isoflop
