#include "eval/chat_template.hpp"

#include "core/file.hpp"
#include "core/json.hpp"
#include "eval/text_stream.hpp"
#include "pretrain/hf_chat.hpp"

#include <algorithm>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

struct Named {
  std::string_view name;
  std::string_view text;
  std::string_view answer_end;
};

constexpr Named kNamed[] = {
    {"chatml",
     "{% for message in messages %}"
     "{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
     "{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
     "<|im_end|>"},
    {"gemma",
     "{{ bos_token }}"
     "{% set ns = namespace(system='') %}"
     "{% for message in messages %}"
     "{% if message.role == 'system' %}{% set ns.system = message.content + '\\n\\n' %}"
     "{% else %}"
     "{{ '<start_of_turn>' + ('model' if message.role == 'assistant' else message.role) + '\\n' + "
     "ns.system + (message.content | trim) + '<end_of_turn>\\n' }}"
     "{% set ns.system = '' %}"
     "{% endif %}"
     "{% endfor %}"
     "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}",
     "<end_of_turn>"},
    {"llama2",
     "{% set ns = namespace(system='') %}"
     "{% for message in messages %}"
     "{% if message.role == 'system' %}"
     "{% set ns.system = '<<SYS>>\\n' + message.content + '\\n<</SYS>>\\n\\n' %}"
     "{% elif message.role == 'user' %}"
     "{{ bos_token + '[INST] ' + ns.system + (message.content | trim) + ' [/INST]' }}"
     "{% set ns.system = '' %}"
     "{% elif message.role == 'assistant' %}{{ ' ' + (message.content | trim) + ' ' + eos_token }}"
     "{% else %}{{ raise_exception('roles are system, user and assistant') }}"
     "{% endif %}"
     "{% endfor %}",
     ""},
    {"llama3",
     "{{ bos_token }}"
     "{% for message in messages %}"
     "{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + "
     "(message.content | trim) + '<|eot_id|>' }}"
     "{% endfor %}"
     "{% if add_generation_prompt %}"
     "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
     "{% endif %}",
     "<|eot_id|>"},
    {"vicuna",
     "{% for message in messages %}"
     "{% if message.role == 'user' %}{{ 'USER: ' + (message.content | trim) + ' ' }}"
     "{% elif message.role == 'assistant' %}"
     "{{ 'ASSISTANT: ' + (message.content | trim) + eos_token }}"
     "{% else %}{{ (message.content | trim) + '\\n\\n' }}"
     "{% endif %}"
     "{% endfor %}"
     "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
     "USER:"},
    {"zephyr",
     "{% for message in messages %}"
     "{{ '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' }}"
     "{% endfor %}"
     "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
     "<|user|>"},
};

/// Templates see valid UTF-8 only.
std::string valid_text(std::string_view text) {
  std::string bytes(text), valid;
  take_characters(bytes, valid, true);
  return valid;
}

}  // namespace

ChatTemplate::ChatTemplate(std::string_view text, std::string origin)
    : template_(valid_text(text), std::move(origin)) {}

std::string ChatTemplate::render(const Json& messages,
                                 const ChatFormat& format,
                                 bool add_generation_prompt,
                                 const Json& more) const {
  jinja::Dict variables;
  for (const auto& [key, value] : more.items())
    variables.emplace_back(key, jinja::Value::from_json(value));
  jinja::put(variables, "messages", jinja::Value::from_json(messages));
  jinja::put(variables, "bos_token", valid_text(format.bos));
  jinja::put(variables, "eos_token", valid_text(format.eos));
  jinja::put(variables, "add_generation_prompt", add_generation_prompt);
  return template_.render(variables);
}

std::string ChatTemplate::render(const Json& messages, const ChatFormat& format) const {
  return render(messages, format, true, Json::object());
}

std::string find_chat_template(const std::string& name) {
  for (const Named& named : kNamed)
    if (named.name == name) return std::string(named.text);
  if (!fs::is_regular_file(name))
    fail_user("there is no chat template {}; give one of {}, or a file", name,
              chat_template_names());
  std::string text = read_file(name);
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first != text.npos && text[first] == '{' && Json::accept(text)) {
    text = chat_template_in(text, name);
    if (text.empty()) fail_user("{} has no chat_template", name);
  }
  ChatTemplate(text, name);  // readable, or refused now
  return text;
}

std::string chat_template_names() {
  std::string names;
  for (const Named& named : kNamed) names += (names.empty() ? "" : ", ") + std::string(named.name);
  return names;
}

std::string answer_end_of(std::string_view chat_template) {
  for (const Named& named : kNamed)
    if (named.text == chat_template) return std::string(named.answer_end);
  return "";
}

}  // namespace isoflop
