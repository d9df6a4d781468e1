#include "launch/tokenizer_file.hpp"

#include "formats/gguf.hpp"
#include "pretrain/gguf_import.hpp"

namespace isoflop {

std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& path) {
  if (fs::is_regular_file(path) && GgufFile::looks_like_gguf(path))
    return GgufModel(path).tokenizer();
  return Tokenizer::load(path);
}

}  // namespace isoflop
