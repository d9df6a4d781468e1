#include "core/error.hpp"
#include "datasets/tokenizer/byte_text.hpp"
#include "datasets/tokenizer/json_input.hpp"
#include "datasets/tokenizer/make_tokenizer.hpp"
#include "datasets/tokenizer/tokenizer_json.hpp"
#include "datasets/tokenizer/utf8.hpp"

#include <fmt/core.h>

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
    check_model(model);
    const bool characters = in_.member(in_.root(), "pre_tokenizer").is_null();
    characters ? check_characters() : check_byte_level();

    TokenizerParts parts;
    const json& added = in_.member(in_.root(), "added_tokens");
    if (!added.is_null() && !added.is_array()) in_.fail("added_tokens", "is not a list");
    NumberedTokens tokens =
        read_vocab(in_, in_.member(model, "vocab"), "model.vocab", added.size());
    for (size_t i = 0; i < added.size(); ++i)
      parts.special_ids.push_back(read_added(added, i, tokens));
    parts.token_texts = tokens.take(in_, "model.vocab");
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
  [[noreturn]] void unsupported(const std::string& what) const {
    fail_user(
        "{}: {} is not supported; supported are byte-level BPE tokenizers that split text as GPT-2 "
        "does",
        in_.origin(), what);
  }

  /// Refuses anything but absence, null, false, 0 and "".
  void require_off(const json& parent, const std::string& prefix, const char* name) const {
    const json& value = in_.member(parent, name);
    if (value.is_null() || value == json(false) || value == json("") ||
        (value.is_number() && value == json(0)))
      return;
    unsupported(prefix + name + " (" + in_quotes(value.dump(-1, ' ', true)) + ")");
  }

  /// The value of "type", or "" for null; the member must be null or an object.
  std::string type_of(const char* name) const {
    const json& part = in_.member(in_.root(), name);
    if (part.is_null()) return "";
    if (!part.is_object()) in_.fail(name, "is not an object");
    return in_.string(in_.member(part, "type"), std::string(name) + ".type");
  }

  void check_model(const json& model) const {
    const json& type = in_.member(model, "type");  // old files leave it out
    if (!type.is_null() && in_.string(type, "model.type") != "BPE")
      unsupported("model.type " + in_quotes(in_.string(type, "model.type")));
    for (const char* name : {"dropout", "continuing_subword_prefix", "end_of_word_suffix",
                             "byte_fallback", "ignore_merges"})
      require_off(model, "model.", name);
    const std::string normalizer = type_of("normalizer");
    if (!normalizer.empty()) unsupported("normalizer " + in_quotes(normalizer));
  }

  void check_byte_level() const {
    const std::string rule = type_of("pre_tokenizer");
    if (rule != "ByteLevel") unsupported("pre_tokenizer " + in_quotes(rule));
    const json& part = in_.member(in_.root(), "pre_tokenizer");
    if (in_.flag(part, "pre_tokenizer", "add_prefix_space", true))
      unsupported("pre_tokenizer.add_prefix_space");
    if (!in_.flag(part, "pre_tokenizer", "use_regex", true))
      unsupported("pre_tokenizer without use_regex");
    if (type_of("decoder") != "ByteLevel") unsupported("decoder " + in_quotes(type_of("decoder")));
  }

  void check_characters() const {
    if (type_of("decoder") != "Fuse") unsupported("a tokenizer without pre_tokenizer");
  }

  int read_added(const json& added, size_t i, NumberedTokens& tokens) const {
    const std::string field = fmt::format("added_tokens[{}]", i);
    const json& token = added[i];
    if (!token.is_object()) in_.fail(field, "is not an object");
    const json& model_vocab = in_.root()["model"]["vocab"];
    const size_t id =
        in_.index(in_.member(token, "id"), field + ".id", model_vocab.size() + added.size());
    const std::string& text = in_.string(in_.member(token, "content"), field + ".content");
    if (text.empty()) in_.fail(field + ".content", "is empty");
    if (!in_.flag(token, field, "special", false))
      unsupported(field + " " + in_quotes(text) + ", which is not a special token,");
    for (const char* name : {"single_word", "lstrip", "rstrip"})
      if (in_.flag(token, field, name, false)) unsupported(field + "." + name);
    if (!tokens.place(id, text))
      in_.fail(field, fmt::format("id {} is given to another token as well", id));
    return static_cast<int>(id);
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
    if (!parts.merges.empty()) unsupported("model.merges without a pre_tokenizer");
    std::vector<bool> special(parts.token_texts.size());
    for (const int id : parts.special_ids) special[static_cast<size_t>(id)] = true;
    for (size_t id = 0; id < special.size(); ++id)
      if (!special[id]) parts.token_texts[id] = to_printable(parts.token_texts[id]);
  }

  JsonInput in_;
};

}  // namespace

std::unique_ptr<Tokenizer> read_tokenizer_json(std::string_view text, const std::string& origin) {
  return Reader(text, origin).read();
}

}  // namespace isoflop
