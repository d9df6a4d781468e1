#include "core/error.hpp"
#include "core/utf8.hpp"
#include "datasets/tokenizer/byte_text.hpp"
#include "datasets/tokenizer/json_input.hpp"
#include "datasets/tokenizer/json_split_rule.hpp"
#include "datasets/tokenizer/make_tokenizer.hpp"
#include "datasets/tokenizer/piece_json.hpp"
#include "datasets/tokenizer/tokenizer_json.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

namespace isoflop {

using nlohmann::json;

namespace {

class Reader {
 public:
  Reader(std::string_view text, const std::string& origin) : in_(text, origin) {}

  std::unique_ptr<Tokenizer> read() {
    const json& model = in_.member(in_.root(), "model");
    if (!model.is_object()) in_.fail("model", "is missing or not an object");
    if (has_pieces(in_)) return read_piece_json(in_);
    check_model(model);
    const json& rule = in_.member(in_.root(), "pre_tokenizer");
    const bool characters = rule.is_null();

    TokenizerParts parts;
    parts.nfc = reads_nfc();
    parts.ignore_merges = in_.flag(model, "model", "ignore_merges", false);
    if (!characters) parts.rule = read_split_rule(in_, rule);
    const std::string decoder = in_.type_of(in_.root(), "decoder");
    if (decoder != (characters ? "Fuse" : "ByteLevel"))
      characters ? in_.unsupported("a tokenizer without pre_tokenizer")
                 : in_.unsupported("decoder " + in_quotes(decoder));
    read_tokens(model, parts);
    read_merges(in_.member(model, "merges"), parts);
    if (characters) to_byte_form(parts);

    std::unique_ptr<Tokenizer> tokenizer = make_tokenizer(parts, in_.origin());
    if (characters != (tokenizer->kind() == Tokenizer::Kind::chars))
      in_.fail("model.vocab", characters
                                  ? "without a pre_tokenizer every token must be one character"
                                  : "not every byte has a token");
    return tokenizer;
  }

 private:
  /// Refuses anything but absence, null, false, 0 and "".
  void require_off(const json& parent, const std::string& prefix, const char* name) const {
    const json& value = in_.member(parent, name);
    if (value.is_null() || value == json(false) || value == json("") ||
        (value.is_number() && value == json(0)))
      return;
    in_.unsupported(prefix + name + " (" + in_quotes(value.dump(-1, ' ', true)) + ")");
  }

  void check_model(const json& model) const {
    const json& type = in_.member(model, "type");  // old files leave it out
    if (!type.is_null() && in_.string(type, "model.type") != "BPE")
      in_.unsupported("model.type " + in_quotes(in_.string(type, "model.type")));
    if (in_.flag(model, "model", "byte_fallback", false))
      in_.unsupported(
          "model.byte_fallback (name SentencePiece's tokenizer.model instead, if it is one)");
    for (const char* name : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
      require_off(model, "model.", name);
  }

  bool reads_nfc() const {
    const std::string normalizer = in_.type_of(in_.root(), "normalizer");
    if (normalizer.empty() || normalizer == "NFC") return !normalizer.empty();
    if (normalizer != "Sequence") in_.unsupported("normalizer " + in_quotes(normalizer));
    const json& list = in_.member(in_.root()["normalizer"], "normalizers");
    if (!list.is_array()) in_.fail("normalizer.normalizers", "is missing or not a list");
    for (size_t i = 0; i < list.size(); ++i) {
      const std::string field = fmt::format("normalizer.normalizers[{}]", i);
      if (!list[i].is_object()) in_.fail(field, "is not an object");
      const std::string& type = in_.string(in_.member(list[i], "type"), field + ".type");
      if (type != "NFC") in_.unsupported(field + " " + in_quotes(type));
    }
    return !list.empty();
  }

  void read_tokens(const json& model, TokenizerParts& parts) const {
    const json& added = in_.member(in_.root(), "added_tokens");
    if (!added.is_null() && !added.is_array()) in_.fail("added_tokens", "is not a list");
    NumberedTokens tokens =
        read_vocab(in_, in_.member(model, "vocab"), "model.vocab", added.size());
    const size_t end = model["vocab"].size() + added.size();
    for (size_t i = 0; i < added.size(); ++i)
      parts.added.push_back(read_added(added[i], fmt::format("added_tokens[{}]", i), end, tokens));
    parts.token_texts = tokens.take(in_, "model.vocab");
    read_unknown(model, parts);
    parts.separator = default_separator(parts.added, parts.token_texts);
    const json& own = in_.member(model, "isoflop");
    if (!own.is_object() || in_.member(own, "separator").is_null()) return;
    parts.separator = static_cast<int>(in_.index(own["separator"], "model.isoflop.separator", end));
  }

  /// What stands for bytes without a token; most files have none, or no such bytes.
  void read_unknown(const json& model, TokenizerParts& parts) const {
    const json& unknown = in_.member(model, "unk_token");
    if (unknown.is_null()) return;
    const std::string& text = in_.string(unknown, "model.unk_token");
    const auto found = std::find(parts.token_texts.begin(), parts.token_texts.end(), text);
    if (found == parts.token_texts.end())
      in_.fail("model.unk_token", in_quotes(text) + " is not a token");
    parts.unknown = static_cast<int>(found - parts.token_texts.begin());
  }

  AddedToken read_added(const json& token,
                        const std::string& field,
                        size_t end,
                        NumberedTokens& tokens) const {
    if (!token.is_object()) in_.fail(field, "is not an object");
    AddedToken added;
    const size_t id = in_.index(in_.member(token, "id"), field + ".id", end);
    added.id = static_cast<int32_t>(id);
    const std::string& text = in_.string(in_.member(token, "content"), field + ".content");
    if (text.empty()) in_.fail(field + ".content", "is empty");
    added.special = in_.flag(token, field, "special", false);
    added.normalized = in_.flag(token, field, "normalized", false);
    added.lstrip = in_.flag(token, field, "lstrip", false);
    added.rstrip = in_.flag(token, field, "rstrip", false);
    if (in_.flag(token, field, "single_word", false)) in_.unsupported(field + ".single_word");
    if (!tokens.place(id, text))
      in_.fail(field, fmt::format("id {} is given to another token as well", id));
    return added;
  }

  /// A merge is "left right" or, in newer files, ["left", "right"].
  void read_merges(const json& merges, TokenizerParts& parts) const {
    if (!merges.is_array()) in_.fail("model.merges", "is missing or not a list");
    parts.merges.reserve(merges.size());
    for (size_t i = 0; i < merges.size(); ++i) {
      const std::string field = fmt::format("model.merges[{}]", i);
      const json& merge = merges[i];
      if (!merge.is_array()) {
        parts.merges.push_back(in_.string(merge, field));
      } else if (merge.size() == 2) {
        parts.merges.push_back(in_.string(merge[0], field) + " " + in_.string(merge[1], field));
      } else {
        in_.fail(field, fmt::format("has {} parts, not 2", merge.size()));
      }
    }
  }

  void to_byte_form(TokenizerParts& parts) const {
    if (!parts.merges.empty()) in_.unsupported("model.merges without a pre_tokenizer");
    std::vector<bool> is_added(parts.token_texts.size());
    for (const AddedToken& token : parts.added) is_added[static_cast<size_t>(token.id)] = true;
    for (size_t id = 0; id < is_added.size(); ++id)
      if (!is_added[id]) parts.token_texts[id] = to_printable(parts.token_texts[id]);
  }

  JsonInput in_;
};

}  // namespace

std::unique_ptr<Tokenizer> read_tokenizer_json(std::string_view text, const std::string& origin) {
  return Reader(text, origin).read();
}

}  // namespace isoflop
