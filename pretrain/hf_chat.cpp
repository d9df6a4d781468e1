#include "pretrain/hf_chat.hpp"

#include "core/error.hpp"
#include "core/json.hpp"
#include "pretrain/hf_names.hpp"

namespace isoflop {

namespace {

using Json = nlohmann::json;

Json parse_object(const std::string& text, const std::string& origin) {
  Json json = parse_json<Json>(text, origin);
  if (!json.is_object()) fail_format("{} is no JSON object", origin);
  return json;
}

/// A token's text, plain or as the content of an object.
std::string token_in(const Json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end()) return "";
  if (found->is_string()) return *found;
  const auto content = found->is_object() ? found->find("content") : found->end();
  return found->is_object() && content != found->end() && content->is_string()
             ? content->get<std::string>()
             : std::string();
}

std::string template_in(const Json& config, const std::string& origin) {
  const auto found = config.find(hf::kChatTemplate);
  if (found == config.end()) return "";
  if (found->is_string()) return *found;
  for (const Json& one : found->is_array() ? *found : Json::array())
    if (one.is_object() && one.value("name", Json()) == "default" &&
        one.value("template", Json()).is_string())
      return one["template"];
  fail_user("{} has a chat_template that is neither text nor a list with a default", origin);
}

}  // namespace

std::string chat_template_in(const std::string& tokenizer_config, const std::string& origin) {
  return template_in(parse_object(tokenizer_config, origin), origin);
}

ChatFormat read_hf_chat(const fs::path& folder, const Tokenizer* tokenizer) {
  ChatFormat chat;
  const fs::path path = folder / hf::kTokenizerConfig;
  if (fs::exists(path)) {
    const Json config = parse_object(read_file(path), path.string());
    chat.chat_template = template_in(config, path.string());
    chat.bos = token_in(config, "bos_token");
    chat.eos = token_in(config, "eos_token");
    const auto add_bos = config.find("add_bos_token");
    chat.add_bos = add_bos != config.end() && add_bos->is_boolean() && *add_bos;
  }
  if (fs::exists(folder / hf::kChatTemplateFile))
    chat.chat_template = read_file(folder / hf::kChatTemplateFile);
  for (int32_t id = 0; tokenizer && !chat.eos.empty() && id < tokenizer->vocabulary(); ++id)
    if (tokenizer->token_text(id) == chat.eos) chat.end_ids.push_back(id);
  return chat;
}

}  // namespace isoflop
