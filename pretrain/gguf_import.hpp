// A GGUF file as a model of ours: configuration, parameters as f32, tokenizer.
//
// Reads architectures "gpt2", "gptneox" and "llama" in any block type that we can dequantize, ours
// or another program's. What our models cannot represent (other tensors, rotary scaling, experts,
// other tokenizers) is a UserError that names it. All shapes are proven before anything is
// allocated.
#pragma once
#include "core/param.hpp"
#include "core/threads.hpp"
#include "datasets/tokenizer.hpp"
#include "formats/gguf.hpp"
#include "pretrain/config/run_config.hpp"
#include "pretrain/model/step.hpp"

#include <memory>
#include <string>
#include <vector>

namespace isoflop {

class GgufModel {
 public:
  explicit GgufModel(const fs::path& path) : GgufModel(GgufFile(path)) {}
  explicit GgufModel(GgufFile file);

  const GgufFile& file() const { return file_; }
  /// Resolved; all multipliers 1, since a file has them folded in.
  const ModelConfig& config() const { return config_; }
  std::string name() const;
  /// Settings of the file that have no effect here, in words.
  const std::vector<std::string>& notes() const { return notes_; }

  /// The table of make_param_table(config()), in f32; absent views are left out.
  void read_parameters(const ParamTable& table, ParamBuffer& parameters, ThreadTeam& team) const;
  /// ModelSource::blocks
  BlockMatrices blocks(const ParamTable& table, const Backend& backend) const;
  std::unique_ptr<Tokenizer> tokenizer() const;

 private:
  void read_config();
  void read_rope_divisors();
  void require_exact_tensors() const;

  GgufFile file_;
  ModelConfig config_;
  std::vector<std::string> notes_;
};

}  // namespace isoflop
