#include "datasets/tokenizer/gpt2_files.hpp"

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/utf8.hpp"
#include "datasets/tokenizer/byte_text.hpp"
#include "datasets/tokenizer/json_input.hpp"
#include "datasets/tokenizer/make_tokenizer.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

namespace isoflop {

namespace {

std::vector<std::string> read_merges(const fs::path& path) {
  const MappedFile file(path);
  std::string_view text = file.text();
  if (valid_utf8_prefix(text) != text.size())
    fail_format("{}: byte {} is not UTF-8", path.string(), valid_utf8_prefix(text));
  std::vector<std::string> merges;
  for (size_t line = 1; !text.empty(); ++line) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view merge = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!merge.empty() && merge.back() == '\r') merge.remove_suffix(1);
    if (merge.empty() || (line == 1 && merge.substr(0, 8) == "#version")) continue;
    if (std::count(merge.begin(), merge.end(), ' ') != 1)
      fail_format("{}: line {}: {} is not two tokens with a space between", path.string(), line,
                  in_quotes(merge));
    merges.emplace_back(merge);
  }
  return merges;
}

}  // namespace

std::unique_ptr<Tokenizer> read_gpt2_tokenizer(const fs::path& vocab, const fs::path& merges) {
  const MappedFile file(vocab);
  const JsonInput input(file.text(), vocab.string());
  TokenizerParts parts;
  parts.token_texts =
      read_vocab(input, input.root(), "the vocabulary", 0).take(input, "the vocabulary");
  parts.merges = read_merges(merges);

  std::unordered_set<std::string> made;
  for (const uint8_t byte : bytes_in_printable_order())
    made.insert(to_printable(std::string(1, static_cast<char>(byte))));
  for (std::string merge : parts.merges) made.insert(merge.erase(merge.find(' '), 1));
  for (size_t id = 0; id < parts.token_texts.size(); ++id) {
    if (made.count(parts.token_texts[id])) continue;
    parts.added.push_back({.id = static_cast<int32_t>(id)});
    if (parts.token_texts[id] == "<|endoftext|>") parts.separator = static_cast<int>(id);
  }
  return make_tokenizer(parts, vocab.string() + " and " + merges.filename().string());
}

}  // namespace isoflop
