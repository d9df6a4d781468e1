// A tokenizer from whatever file the user names.
#pragma once
#include "core/file.hpp"
#include "datasets/tokenizer.hpp"

#include <memory>

namespace isoflop {

/// What Tokenizer::load reads, a run folder or a GGUF model.
std::unique_ptr<Tokenizer> load_tokenizer(const fs::path& path);

}  // namespace isoflop
