// A model ready for conversations: its template, and what begins and ends a text.
#pragma once
#include "eval/chat_template.hpp"
#include "eval/generate.hpp"
#include "eval/language_model.hpp"

#include <nlohmann/json.hpp>

#include <memory>
#include <string>
#include <vector>

namespace isoflop {

class ChatModel {
 public:
  /// With the template called `name` (find_chat_template), else the model's own; without either
  /// it is a base model, and only has_template() may be asked. UserError when the tokenizer does
  /// not belong to the model. The model outlives it.
  explicit ChatModel(LanguageModel& model, const std::string& name = "");

  bool has_template() const { return template_ != nullptr; }
  /// UserError calling it a base model, with what to do.
  void require_template() const;

  /// The text up to where the answer begins. FormatError when the template refuses.
  std::string render(const nlohmann::ordered_json& messages,
                     const nlohmann::ordered_json& more = nlohmann::ordered_json::object()) const;
  /// Its tokens; texts of special tokens become those tokens, as every runtime has it.
  std::vector<int32_t> tokens_of(const std::string& rendered) const;

  const Tokenizer& tokenizer() const { return model_.tokenizer(); }
  const std::vector<int32_t>& end_ids() const { return end_ids_; }
  /// Ends an answer where the vocabulary has no token for it; may be empty.
  const std::string& answer_end() const { return answer_end_; }

 private:
  LanguageModel& model_;
  std::unique_ptr<ChatTemplate> template_;
  std::vector<int32_t> end_ids_;
  std::string answer_end_;
};

/// A conversation kept inside the model's context: when it is full, the oldest turns go, the system
/// message stays.
class Conversation {
 public:
  Conversation(const ChatModel& chat, int64_t context) : chat_(chat), context_(context) {}

  void set_system(const std::string& text);
  /// Adds what the user says and returns the tokens to answer to, with room for `answer` more or
  /// at least an eighth of the context. UserError when this text alone is too long; then it is not
  /// added.
  std::vector<int32_t> ask(const std::string& text, int64_t answer);
  void add_answer(const std::string& text);
  void clear();

  /// What the last ask() rendered, and the messages that it left out for good.
  const std::string& rendered() const { return rendered_; }
  size_t left_out() const { return left_out_; }

 private:
  size_t system_messages() const {
    return messages_.size() > 0 && messages_[0]["role"] == "system";
  }

  const ChatModel& chat_;
  int64_t context_;
  nlohmann::ordered_json messages_ = nlohmann::ordered_json::array();
  std::string rendered_;
  size_t left_out_ = 0;
};

}  // namespace isoflop
