#include "core/error.hpp"
#include "core/file.hpp"
#include "datasets/tokenizer.hpp"
#include "datasets/tokenizer/gpt2_files.hpp"
#include "datasets/tokenizer/tokenizer_json.hpp"

#include <string>
#include <utility>

namespace isoflop {

namespace {

constexpr std::pair<const char*, const char*> kGpt2Files[] = {{"encoder.json", "vocab.bpe"},
                                                              {"vocab.json", "merges.txt"}};

std::unique_ptr<Tokenizer> load_folder(const fs::path& folder) {
  if (fs::exists(folder / "tokenizer.json")) return Tokenizer::load(folder / "tokenizer.json");
  for (const auto& [vocab, merges] : kGpt2Files)
    if (fs::exists(folder / vocab) && fs::exists(folder / merges))
      return read_gpt2_tokenizer(folder / vocab, folder / merges);
  fail_user(
      "folder {} holds no tokenizer: neither tokenizer.json nor encoder.json with vocab.bpe nor "
      "vocab.json with merges.txt",
      folder.string());
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
  const MappedFile file(path);
  return read_tokenizer_json(file.text(), path.string());
}

std::unique_ptr<Tokenizer> Tokenizer::from_json(std::string_view text, const std::string& origin) {
  return read_tokenizer_json(text, origin);
}

}  // namespace isoflop
