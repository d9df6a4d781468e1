#include "core/error.hpp"
#include "core/file.hpp"
#include "datasets/tokenizer.hpp"
#include "datasets/tokenizer/gguf_tokenizer.hpp"
#include "datasets/tokenizer/gpt2_files.hpp"
#include "datasets/tokenizer/llama2c_file.hpp"
#include "datasets/tokenizer/sentencepiece_file.hpp"
#include "datasets/tokenizer/tokenizer_json.hpp"

#include <string>
#include <utility>

namespace isoflop {

namespace {

constexpr std::pair<const char*, const char*> kGpt2Files[] = {{"encoder.json", "vocab.bpe"},
                                                              {"vocab.json", "merges.txt"}};

/// Where SentencePiece's own file lies beside a tokenizer.json, the latter is its translation.
std::unique_ptr<Tokenizer> load_folder(const fs::path& folder) {
  for (const char* name : {"tokenizer.model", "tokenizer.json"})
    if (fs::exists(folder / name)) return Tokenizer::load(folder / name);
  for (const auto& [vocab, merges] : kGpt2Files)
    if (fs::exists(folder / vocab) && fs::exists(folder / merges))
      return read_gpt2_tokenizer(folder / vocab, folder / merges);
  fail_user(
      "folder {} holds no tokenizer: neither tokenizer.model nor tokenizer.json nor encoder.json "
      "with vocab.bpe nor vocab.json with merges.txt",
      folder.string());
}

bool looks_like_json(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  return first != text.npos && text[first] == '{';
}

}  // namespace

std::unique_ptr<Tokenizer> Tokenizer::load(const fs::path& path) {
  if (!fs::exists(path))
    fail_user("there is no tokenizer {}; name a tokenizer.json or a folder with one",
              path.string());
  if (fs::is_directory(path)) return load_folder(path);
  for (const auto& [vocab, merges] : kGpt2Files)
    if (path.filename() == vocab || path.filename() == merges)
      return read_gpt2_tokenizer(path.parent_path() / vocab, path.parent_path() / merges);
  if (GgufFile::looks_like_gguf(path)) return read_gguf_tokenizer(GgufFile(path));
  const MappedFile file(path);
  const std::string_view text = file.text();
  if (!looks_like_json(text)) {
    if (looks_like_sentencepiece(text)) return read_sentencepiece(text, path.string());
    if (looks_like_llama2c(text)) return read_llama2c(text, path.string());
  }
  return read_tokenizer_json(text, path.string());
}

std::unique_ptr<Tokenizer> Tokenizer::from_json(std::string_view text, const std::string& origin) {
  return read_tokenizer_json(text, origin);
}

}  // namespace isoflop
