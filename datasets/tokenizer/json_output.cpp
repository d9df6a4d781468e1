#include "datasets/tokenizer/json_output.hpp"

#include <nlohmann/json.hpp>

namespace isoflop {

std::string json_string(const std::string& text) {
  return nlohmann::json(text).dump();
}

std::string json_added_tokens(const std::vector<AddedToken>& added,
                              const std::vector<std::string>& tokens) {
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  std::string out = "  \"added_tokens\": [";
  for (size_t i = 0; i < added.size(); ++i) {
    const AddedToken& token = added[i];
    out += i ? ",\n    " : "\n    ";
    out += "{\"id\": " + std::to_string(token.id) +
           ", \"content\": " + json_string(tokens[static_cast<size_t>(token.id)]) +
           ", \"single_word\": false, \"lstrip\": " + flag(token.lstrip) +
           ", \"rstrip\": " + flag(token.rstrip) + ", \"normalized\": " + flag(token.normalized) +
           ", \"special\": " + flag(token.special) + "}";
  }
  return out + (added.empty() ? "],\n" : "\n  ],\n");
}

std::string json_model(const JsonModel& model) {
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  std::string out = "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n";
  out += "    \"unk_token\": " + (model.unknown.empty() ? "null" : json_string(model.unknown)) +
         ",\n    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n";
  out += std::string("    \"fuse_unk\": ") + flag(model.fuse_unknown) +
         ",\n    \"byte_fallback\": " + flag(model.byte_fallback) +
         ",\n    \"ignore_merges\": " + flag(model.ignore_merges) + ",\n";
  if (!model.own.empty()) out += "    \"isoflop\": {" + model.own + "},\n";
  out += "    \"vocab\": {";
  for (size_t id = 0; id < model.tokens.size(); ++id) {
    out += id ? ",\n      " : "\n      ";
    out += json_string(model.tokens[id]) + ": " + std::to_string(id);
  }
  out += "\n    },\n    \"merges\": [";
  for (size_t i = 0; i < model.merges.size(); ++i)
    out += (i ? ",\n      " : "\n      ") + json_string(model.merges[i]);
  return out + (model.merges.empty() ? "]\n  }\n" : "\n    ]\n  }\n");
}

}  // namespace isoflop
