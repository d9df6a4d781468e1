#include "datasets/tokenizer/json_output.hpp"
#include "datasets/tokenizer/tokenizer_json.hpp"

#include <algorithm>
#include <iterator>

namespace isoflop {

namespace {

using Kind = SplitStep::Kind;

constexpr char kByteLevel[] =
    R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})";

std::string byte_level(bool prefix_space, bool gpt2) {
  return std::string(R"({"type": "ByteLevel", "add_prefix_space": )") +
         (prefix_space ? "true" : "false") + R"(, "trim_offsets": true, "use_regex": )" +
         (gpt2 ? "true}" : "false}");
}

std::string split_step(const SplitStep& step) {
  if (step.kind == Kind::numbers || step.kind == Kind::number_runs)
    return std::string(R"({"type": "Digits", "individual_digits": )") +
           (step.kind == Kind::numbers ? "true}" : "false}");
  const bool literal = step.kind == Kind::literal;
  const std::string text =
      literal || step.kind == Kind::pattern ? step.text : pattern_of(step.kind);
  return std::string(R"({"type": "Split", "pattern": {")") + (literal ? "String" : "Regex") +
         "\": " + json_string(text) + R"(}, "behavior": "Isolated", "invert": false})";
}

/// The steps before ByteLevel, which stands last and takes a space prefix and GPT-2's pattern upon
/// itself.
std::string pre_tokenizer(const SplitRule& rule) {
  std::vector<SplitStep> steps = rule.steps;
  const bool gpt2 = !steps.empty() && steps.back().kind == Kind::gpt2;
  if (gpt2) steps.pop_back();
  const bool prefix_space = !steps.empty() && steps.back().kind == Kind::space_prefix;
  if (prefix_space) steps.pop_back();
  const std::string last = byte_level(prefix_space, gpt2);
  if (steps.empty()) return last;
  std::string sequence = "{\"type\": \"Sequence\", \"pretokenizers\": [";
  for (const SplitStep& step : steps) sequence += "\n    " + split_step(step) + ",";
  return sequence + "\n    " + last + "]}";
}

}  // namespace

int32_t default_separator(const std::vector<AddedToken>& added,
                          const std::vector<std::string>& texts) {
  constexpr std::string_view kNotTheEnd[] = {"<s>",
                                             "<bos>",
                                             "<unk>",
                                             "<pad>",
                                             "<mask>",
                                             "<|begin_of_text|>",
                                             "<|startoftext|>",
                                             "<|bos|>",
                                             "[BOS]",
                                             "[UNK]",
                                             "[PAD]",
                                             "[CLS]",
                                             "[MASK]",
                                             "<|padding|>",
                                             "<|pad|>",
                                             "<|unk|>",
                                             "BOS",
                                             "<|im_start|>"};
  int32_t first = -1;
  for (const AddedToken& token : added) {
    if (!token.special) continue;
    const std::string& text = texts[static_cast<size_t>(token.id)];
    if (std::find(std::begin(kNotTheEnd), std::end(kNotTheEnd), text) == std::end(kNotTheEnd))
      return token.id;
    if (first < 0) first = token.id;
  }
  return first;
}

std::string write_tokenizer_json(const TokenizerFile& file) {
  const bool bytes = file.form == TokenizerFile::Form::byte_level;
  std::string out = kJsonHead + json_added_tokens(file.added, file.tokens);
  out += std::string("  \"normalizer\": ") + (file.nfc ? R"({"type": "NFC"})" : "null") + ",\n";
  out += "  \"pre_tokenizer\": " + (bytes ? pre_tokenizer(file.rule) : "null") + ",\n";
  out += std::string("  \"post_processor\": ") + (bytes ? kByteLevel : "null") + ",\n";
  out += std::string("  \"decoder\": ") + (bytes ? kByteLevel : R"({"type": "Fuse"})") + ",\n";
  JsonModel model{file.tokens, file.merges};
  model.ignore_merges = file.ignore_merges;
  model.unknown = file.unknown;
  if (!file.added.empty() && file.added[0].special &&
      file.added[0].id != default_separator(file.added, file.tokens))
    model.own = "\"separator\": " + std::to_string(file.added[0].id);
  return out + json_model(model) + "}\n";
}

}  // namespace isoflop
