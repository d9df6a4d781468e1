// What a Hugging Face folder says about chats, in tokenizer_config.json (or, of the template alone,
// chat_template.jinja beside it).
#pragma once
#include "core/file.hpp"
#include "pretrain/model_source.hpp"

#include <string>

namespace isoflop {

/// Of a parsed tokenizer_config.json's text: its chat_template, text or the default of a list; ""
/// when it has none. UserError when it is neither, FormatError when the text is no JSON object.
std::string chat_template_in(const std::string& tokenizer_config, const std::string& origin);

/// Nothing where the folder says nothing. `tokenizer`, or null, has the ids.
ChatFormat read_hf_chat(const fs::path& folder, const Tokenizer* tokenizer);

}  // namespace isoflop
