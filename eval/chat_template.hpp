// ChatTemplate: how a conversation becomes the text that a model was tuned on.
#pragma once
#include "eval/jinja/template.hpp"
#include "pretrain/model_source.hpp"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

class ChatTemplate {
 public:
  /// FormatError for a template that is none or uses what is not supported.
  ChatTemplate(std::string_view text, std::string origin);

  /// `messages`: a JSON array of {"role", "content", ...}, as transformers and OpenAI have it.
  /// `more`: further variables, such as tools. The answer's opening is added when
  /// `add_generation_prompt`. FormatError when the template refuses.
  std::string render(const nlohmann::ordered_json& messages,
                     const ChatFormat& format,
                     bool add_generation_prompt,
                     const nlohmann::ordered_json& more) const;
  std::string render(const nlohmann::ordered_json& messages, const ChatFormat& format) const;

 private:
  jinja::Template template_;
};

/// The text of a built-in template, of a Jinja file, or of the chat_template in a
/// tokenizer_config.json (the one called default where there are several), proven to be readable.
/// UserError when `name` is none of these.
std::string find_chat_template(const std::string& name);
/// "chatml, gemma, ..."
std::string chat_template_names();
/// Text that ends an answer under a built-in template whose end mark the model's vocabulary may not
/// have; "" for others.
std::string answer_end_of(std::string_view chat_template);

}  // namespace isoflop
