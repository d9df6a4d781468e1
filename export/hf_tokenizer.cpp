#include "export/hf_tokenizer.hpp"

#include "datasets/tokenizer/json_output.hpp"
#include "datasets/tokenizer/sentencepiece_file.hpp"
#include "pretrain/hf_names.hpp"

#include <nlohmann/json.hpp>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

std::string vocab_json(const Tokenizer& tokenizer) {
  std::string text = "{";
  for (int32_t id = 0; id < tokenizer.vocabulary(); ++id)
    text += (id ? ", " : "") + json_string(tokenizer.token_text(id)) + ": " + std::to_string(id);
  return text + "}\n";
}

std::string merges_txt(const Tokenizer& tokenizer) {
  std::string text = "#version: 0.2\n";
  for (const std::string& merge : tokenizer.merges()) text += merge + "\n";
  return text;
}

/// What the two files of GPT-2's release can say.
bool is_gpt2_kind(const Tokenizer& tokenizer) {
  const TokenizerRules rules = tokenizer.rules();
  if (rules.split != "gpt-2" || !rules.normalizer.empty() || rules.ignore_merges) return false;
  for (int32_t id = 0; id < tokenizer.vocabulary(); ++id)
    if (tokenizer.type(id) == TokenType::user) return false;
  return tokenizer.kind() == Tokenizer::Kind::bpe;
}

/// Our own reader prefers tokenizer.model and refuses pieces of the type unused.
bool fits_sentencepiece(const Tokenizer& tokenizer) {
  for (int32_t id = 0; id < tokenizer.vocabulary(); ++id)
    if (tokenizer.type(id) == TokenType::unused) return false;
  return tokenizer.kind() == Tokenizer::Kind::sentencepiece;
}

/// PreTrainedTokenizerFast takes tokenizer.json as it is; a class of its own would put its defaults
/// over it.
std::string tokenizer_config(const Tokenizer& tokenizer,
                             const ModelConfig& model,
                             const std::string& chat_template) {
  Json json = {{"tokenizer_class", "PreTrainedTokenizerFast"},
               {"model_max_length", model.context},
               {"add_prefix_space", false},
               {"add_bos_token", false},
               {"add_eos_token", false},
               {"clean_up_tokenization_spaces", false}};
  if (tokenizer.separator() >= 0)
    for (const char* key : {"bos_token", "eos_token"})
      json[key] = tokenizer.token_text(tokenizer.separator());
  for (int32_t id = 0; id < tokenizer.vocabulary(); ++id)
    if (tokenizer.type(id) == TokenType::unknown) json["unk_token"] = tokenizer.token_text(id);
  if (!chat_template.empty()) json[hf::kChatTemplate] = chat_template;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

std::string hf_generation_config(int separator) {
  Json json = {{"do_sample", false}};
  if (separator >= 0)
    for (const char* key : {"bos_token_id", "eos_token_id", "pad_token_id"}) json[key] = separator;
  return json.dump(2) + "\n";
}

void write_hf_tokenizer(const Tokenizer& tokenizer,
                        const ModelConfig& model,
                        const std::string& chat_template,
                        const fs::path& folder,
                        std::vector<std::string>& notes) {
  write_file_atomically(folder / "tokenizer.json", tokenizer.to_json());
  write_file_atomically(folder / hf::kTokenizerConfig,
                        tokenizer_config(tokenizer, model, chat_template));
  if (fits_sentencepiece(tokenizer)) {
    write_file_atomically(folder / "tokenizer.model", write_sentencepiece(tokenizer));
  } else if (model.arch == Arch::gpt3 && is_gpt2_kind(tokenizer)) {
    write_file_atomically(folder / "vocab.json", vocab_json(tokenizer));
    write_file_atomically(folder / "merges.txt", merges_txt(tokenizer));
  }
  if (tokenizer.separator() < 0)
    notes.push_back("the tokenizer has no end of text; programs will not know where to stop");
}

}  // namespace isoflop
