#include "datasets/tokenizer/tokenizer_json.hpp"

#include <nlohmann/json.hpp>

namespace isoflop {

namespace {

constexpr char kByteLevel[] =
    R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})";

std::string json_string(const std::string& text) {
  return nlohmann::json(text).dump();
}

void append_added_tokens(std::string& out, const TokenizerFile& file) {
  out += "  \"added_tokens\": [";
  for (size_t i = 0; i < file.special_ids.size(); ++i) {
    const int32_t id = file.special_ids[i];
    out += i ? ",\n    " : "\n    ";
    out += "{\"id\": " + std::to_string(id) +
           ", \"content\": " + json_string(file.tokens[static_cast<size_t>(id)]) +
           ", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, "
           "\"special\": true}";
  }
  out += file.special_ids.empty() ? "],\n" : "\n  ],\n";
}

}  // namespace

std::string write_tokenizer_json(const TokenizerFile& file) {
  const bool byte_level = file.form == TokenizerFile::Form::byte_level;
  std::string out = "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n";
  append_added_tokens(out, file);
  out += "  \"normalizer\": null,\n";
  out += std::string("  \"pre_tokenizer\": ") + (byte_level ? kByteLevel : "null") + ",\n";
  out += std::string("  \"post_processor\": ") + (byte_level ? kByteLevel : "null") + ",\n";
  out += std::string("  \"decoder\": ") + (byte_level ? kByteLevel : R"({"type": "Fuse"})") + ",\n";
  out +=
      "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
      "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n"
      "    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n"
      "    \"vocab\": {";
  for (size_t id = 0; id < file.tokens.size(); ++id) {
    out += id ? ",\n      " : "\n      ";
    out += json_string(file.tokens[id]) + ": " + std::to_string(id);
  }
  out += "\n    },\n    \"merges\": [";
  for (size_t i = 0; i < file.merges.size(); ++i)
    out += (i ? ",\n      " : "\n      ") + json_string(file.merges[i]);
  out += file.merges.empty() ? "]\n  }\n}\n" : "\n    ]\n  }\n}\n";
  return out;
}

}  // namespace isoflop
