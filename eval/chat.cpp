#include "eval/chat.hpp"

#include <algorithm>

namespace isoflop {

namespace {

/// Special tokens that end a turn in the vocabularies of tuned models, whatever the file says.
constexpr const char* kTurnEnds[] = {"<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>"};

}  // namespace

ChatModel::ChatModel(LanguageModel& model, const std::string& name) : model_(model) {
  const Tokenizer& tokenizer = model.tokenizer();
  if (tokenizer.vocabulary() > model.config().vocabulary)
    fail_user(
        "{}: the tokenizer has {} tokens, the model {} embeddings: they do not belong together",
        model.origin(), tokenizer.vocabulary(), model.config().vocabulary);
  const std::string text = name.empty() ? model.chat().chat_template : find_chat_template(name);
  end_ids_ = model.chat().end_ids;
  std::erase_if(end_ids_, [&](int32_t id) { return id >= tokenizer.vocabulary(); });
  if (tokenizer.separator() >= 0) end_ids_.push_back(tokenizer.separator());
  if (text.empty()) return;
  template_ = std::make_unique<ChatTemplate>(
      text, name.empty() ? model.origin() + ", chat template" : name);
  answer_end_ = answer_end_of(text);
  for (const char* mark : kTurnEnds) {
    std::vector<int32_t> ids;
    tokenizer.encode(mark, ids, true);
    if (ids.size() != 1 || !tokenizer.is_special(ids[0])) continue;
    end_ids_.push_back(ids[0]);
    if (answer_end_ == mark) answer_end_.clear();
  }
}

void ChatModel::require_template() const {
  if (has_template()) return;
  fail_user(
      "{} is a base model: it goes on with text and was not tuned for chats. Use generate, or name "
      "a template to try it: --chat-template {}",
      model_.origin(), chat_template_names());
}

std::string ChatModel::render(const nlohmann::ordered_json& messages,
                              const nlohmann::ordered_json& more) const {
  require_template();
  return template_->render(messages, model_.chat(), true, more);
}

std::vector<int32_t> ChatModel::tokens_of(const std::string& rendered) const {
  std::vector<int32_t> ids;
  const ChatFormat& format = model_.chat();
  if (format.add_bos && !format.bos.empty() && !rendered.starts_with(format.bos))
    tokenizer().encode(format.bos, ids, true);
  tokenizer().encode(rendered, ids, true);
  if (ids.empty()) fail_user("the chat template made an empty text");
  return ids;
}

void Conversation::set_system(const std::string& text) {
  // Spelled out: insert() takes a braced list for several elements.
  const nlohmann::ordered_json message = {{"role", "system"}, {"content", text}};
  messages_.insert(messages_.begin(), message);
}

std::vector<int32_t> Conversation::ask(const std::string& text, int64_t answer) {
  const int64_t room = std::min(answer, std::max<int64_t>(1, context_ / 8));
  const nlohmann::ordered_json before = messages_;
  messages_.push_back({{"role", "user"}, {"content", text}});
  left_out_ = 0;
  try {
    while (true) {
      rendered_ = chat_.render(messages_);
      std::vector<int32_t> ids = chat_.tokens_of(rendered_);
      const auto size = static_cast<int64_t>(ids.size());
      if (size + room <= context_) return ids;
      const size_t first = system_messages();
      if (messages_.size() - first < 3)
        fail_user(
            "this message makes {} tokens with what surrounds it, and the model's context is {}",
            size, context_);
      // A question and its answer.
      const auto at = messages_.begin() + static_cast<std::ptrdiff_t>(first);
      messages_.erase(at, at + 2);
      left_out_ += 2;
    }
  } catch (const UserError&) {
    messages_ = before;
    throw;
  }
}

void Conversation::add_answer(const std::string& text) {
  messages_.push_back({{"role", "assistant"}, {"content", text}});
}

void Conversation::clear() {
  while (messages_.size() > system_messages()) messages_.erase(messages_.size() - 1);
}

}  // namespace isoflop
