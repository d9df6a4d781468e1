// A Hugging Face folder as a model of ours: configuration, parameters as f32, tokenizer.
//
// Reads GPT2LMHeadModel, GPTNeoXForCausalLM and LlamaForCausalLM from safetensors in F32, F16 or
// BF16, ours or another program's. What our models cannot represent (other classes, other tensors,
// kinds of rotary scaling) is a UserError that names it. All shapes are proven before anything is
// allocated. Programs in a folder (pytorch_model.bin, *.py) are never run.
#pragma once
#include "core/param.hpp"
#include "core/threads.hpp"
#include "datasets/tokenizer.hpp"
#include "formats/safetensors.hpp"
#include "pretrain/config/run_config.hpp"

#include <memory>
#include <string>
#include <vector>

namespace isoflop {

class HfModel {
 public:
  explicit HfModel(const fs::path& folder);
  /// A folder with a config.json, which neither runs nor checkpoints have.
  static bool looks_like_hf(const fs::path& folder);

  /// Resolved; all multipliers 1, since a file has them folded in.
  const ModelConfig& config() const { return config_; }
  const SafetensorsFolder& tensors() const { return tensors_; }
  /// Settings of the folder that have no effect here, in words.
  const std::vector<std::string>& notes() const { return notes_; }

  /// The table of make_param_table(config()), in f32; absent views are left out.
  void read_parameters(const ParamTable& table, ParamBuffer& parameters, ThreadTeam& team) const;
  /// Null when the folder has none.
  std::unique_ptr<Tokenizer> tokenizer() const;

 private:
  const SafetensorsTensor* find(const std::string& name) const;
  void require_exact_tensors();
  void require_tied_head(const SafetensorsTensor& head) const;

  fs::path folder_;
  std::vector<std::string> notes_;
  ModelConfig config_;
  SafetensorsFolder tensors_;
};

}  // namespace isoflop
