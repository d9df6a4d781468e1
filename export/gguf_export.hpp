// A model as a GGUF file that llama.cpp and its relatives load: gpt3 as "gpt2", llama as "llama",
// multipliers folded into the weights, the tokenizer inside.
#pragma once
#include "core/file.hpp"
#include "core/param.hpp"
#include "core/threads.hpp"
#include "datasets/tokenizer.hpp"
#include "export/importance.hpp"
#include "pretrain/config/run_config.hpp"
#include "pretrain/model_source.hpp"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace isoflop {

struct GgufExport {
  const ModelConfig& model;       // resolved
  const ParamTable& table;        // of make_param_table(model)
  const ParamBuffer& parameters;  // f32; empty with a source
  const Tokenizer& tokenizer;
  std::string type;                                            // a recipe of gguf_recipe.hpp
  std::string name;                                            // general.name
  const ImportanceMatrix* importance = nullptr;                // or null: every column counts alike
  std::vector<std::pair<std::string, std::string>> card = {};  // model_card_keys()
  std::string chat_template = {};                              // none for a base model
  const ModelSource* source = nullptr;  // to read each parameter from when its turn comes
  std::string grid = {};  // that training left the parameters on; a file of this type keeps them
};

struct ExportReport {
  fs::path file;
  std::string type;
  uint64_t file_bytes = 0;
  uint64_t tensor_bytes = 0;
  int64_t parameters = 0;
  std::vector<std::string> notes;  // deviations from what was asked, in words

  double bits_per_weight() const {
    return 8.0 * static_cast<double>(tensor_bytes) / static_cast<double>(parameters);
  }
};

/// Writes beside `out` and renames. Holds a few MiB of encoded rows at a time, and with a source
/// one parameter; rows are encoded by the team. UserError when the model cannot be expressed, or a
/// weight is not finite, or too large or too small for the type; nothing is left behind then.
ExportReport export_gguf(const GgufExport& job, const fs::path& out, ThreadTeam& team);

}  // namespace isoflop
