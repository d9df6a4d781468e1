// The programs that run GGUF files: their rules beyond the format, and how each is started.
#pragma once
#include "formats/gguf.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct RuntimeFindings {
  std::vector<std::string> problems;  // it would refuse the file, or stop while running it
  std::vector<std::string> notes;     // it runs the file, but
};

struct Runtime {
  std::string_view name;
  RuntimeFindings (*check)(const GgufFile& file);
};

/// llama.cpp, ollama or gpt4all; UserError for another name.
const Runtime& find_runtime(std::string_view name);

/// A model whose file has no template for conversations goes on with text; it answers nobody.
bool is_base_model(const GgufFile& file);

/// For Ollama: model.gguf -> model.Modelfile, and what stands in it.
fs::path modelfile_path(const fs::path& file);
std::string modelfile(const fs::path& file, const GgufFile& gguf);

/// Lines for people: a command for each program.
std::vector<std::string> how_to_run(const fs::path& file, const GgufFile& gguf);

}  // namespace isoflop
