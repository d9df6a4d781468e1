// A model as a Hugging Face folder that transformers loads: gpt3 as GPT2LMHeadModel, pythia as
// GPTNeoXForCausalLM, llama as LlamaForCausalLM; multipliers folded into the weights.
//
// The folder has the tensors (safetensors), config.json, generation_config.json, the tokenizer
// (tokenizer.json, tokenizer_config.json; also vocab.json and merges.txt, or tokenizer.model, where
// programs of that class look for them) and README.md, the model card.
#pragma once
#include "core/dtype.hpp"
#include "core/file.hpp"
#include "core/param.hpp"
#include "core/threads.hpp"
#include "datasets/tokenizer.hpp"
#include "pretrain/config/run_config.hpp"
#include "pretrain/model_source.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace isoflop {

struct HfExport {
  const ModelConfig& model;        // resolved
  const ParamTable& table;         // of make_param_table(model)
  const ParamBuffer& parameters;   // f32; empty with a source
  const Tokenizer* tokenizer;      // null: the folder has none
  DType dtype = DType::f32;        // f32, f16 or bf16
  std::string card = {};           // text of README.md; "" = none
  std::string chat_template = {};  // in tokenizer_config.json; none for a base model
  uint64_t shard_bytes = 5'000'000'000;
  const ModelSource* source = nullptr;  // to read each parameter from when its turn comes
};

struct HfReport {
  fs::path folder;
  size_t files = 0;  // of tensors
  uint64_t tensor_bytes = 0;
  int64_t parameters = 0;
  std::vector<std::string> notes;  // what the user should know, in words
};

/// f32, f16 or bf16; UserError for another.
DType parse_hf_dtype(const std::string& name);

/// Writes beside `out` and renames the folder when it is whole. `out` is absent, empty, or with
/// `replace` an earlier export with no file that an export does not write; UserError otherwise, and
/// when the model cannot be expressed or a weight is not finite or too large for the type. Holds a
/// few MiB of rows at a time.
HfReport export_hf(const HfExport& job, const fs::path& out, bool replace, ThreadTeam& team);

}  // namespace isoflop
