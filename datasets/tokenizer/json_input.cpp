#include "datasets/tokenizer/json_input.hpp"

#include "core/json.hpp"
#include "core/utf8.hpp"

#include <fmt/core.h>

#include <utility>

namespace isoflop {

using nlohmann::json;

JsonInput::JsonInput(std::string_view text, std::string origin)
    : origin_(std::move(origin)), root_(parse_json<json>(text, origin_)) {
  if (!root_.is_object()) fail_format("{}: not a JSON object", origin_);
}

void JsonInput::fail(const std::string& field, const std::string& problem) const {
  fail_format("{}: {}: {}", origin_, field, problem);
}

void JsonInput::unsupported(const std::string& what) const {
  fail_user(
      "{}: {} is not supported; supported are byte-level BPE, with the splitting rules and the NFC "
      "normalizer of GPT-2, GPT-NeoX, Llama 3, Qwen 2 and SmolLM or similar ones",
      origin_, what);
}

std::string JsonInput::type_of(const json& parent, const char* name) const {
  const json& part = member(parent, name);
  if (part.is_null()) return "";
  if (!part.is_object()) fail(name, "is not an object");
  return string(member(part, "type"), std::string(name) + ".type");
}

const json& JsonInput::member(const json& parent, const char* name) const {
  static const json none;
  const auto found = parent.find(name);
  return found == parent.end() ? none : *found;
}

const std::string& JsonInput::string(const json& value, const std::string& field) const {
  if (!value.is_string()) fail(field, fmt::format("is a {}, not a string", value.type_name()));
  return value.get_ref<const std::string&>();
}

bool JsonInput::flag(const json& parent,
                     const std::string& prefix,
                     const char* name,
                     bool absent) const {
  const json& value = member(parent, name);
  if (value.is_null()) return absent;
  if (!value.is_boolean())
    fail(prefix + "." + name, fmt::format("is a {}, not true or false", value.type_name()));
  return value.get<bool>();
}

size_t JsonInput::index(const json& value, const std::string& field, size_t end) const {
  if (!value.is_number_unsigned())
    fail(field, fmt::format("the id is a {}, not a whole number from 0", value.type_name()));
  const uint64_t id = value.get<uint64_t>();
  if (id >= end)
    fail(field,
         fmt::format("the id {} is too large: {} tokens must have ids 0 to {}", id, end, end - 1));
  return static_cast<size_t>(id);
}

bool NumberedTokens::place(size_t id, const std::string& text) {
  std::string& slot = texts_[id];
  if (!slot.empty()) return slot == text;
  slot = text;
  ++count_;
  return true;
}

std::vector<std::string> NumberedTokens::take(const JsonInput& input, const std::string& field) {
  for (size_t id = 0; id < count_; ++id)
    if (texts_[id].empty())
      input.fail(field, fmt::format("no token has id {}, though there are {} tokens", id, count_));
  texts_.resize(count_);
  return std::move(texts_);
}

NumberedTokens read_vocab(const JsonInput& input,
                          const json& vocab,
                          const std::string& field,
                          size_t more) {
  if (!vocab.is_object())
    input.fail(field, fmt::format("is a {}, not an object of tokens and ids", vocab.type_name()));
  NumberedTokens tokens(vocab.size() + more);
  for (const auto& [text, value] : vocab.items()) {
    const std::string name = field + "[" + in_quotes(text) + "]";
    if (text.empty()) input.fail(field, "holds an empty token");
    const size_t id = input.index(value, name, vocab.size() + more);
    if (!tokens.place(id, text))
      input.fail(name, fmt::format("id {} is given to another token as well", id));
  }
  return tokens;
}

}  // namespace isoflop
