// The keys and fixed names of a model in a GGUF file, for the writer (export/) and the reader
// (gguf_import.hpp) alike; those of its tokenizer are in datasets/tokenizer/gguf_keys.hpp. Tensor
// names are in the parameter table (ParamSpec::gguf).
#pragma once
#include "datasets/tokenizer/gguf_keys.hpp"
#include "pretrain/config/run_config.hpp"

#include <array>
#include <string>
#include <string_view>

namespace isoflop::gguf {

inline constexpr std::string_view kArchitecture = "general.architecture";
inline constexpr std::string_view kType = "general.type";
inline constexpr std::string_view kName = "general.name";
inline constexpr std::string_view kSizeLabel = "general.size_label";
inline constexpr std::string_view kFileType = "general.file_type";
inline constexpr std::string_view kQuantizationVersion = "general.quantization_version";

inline constexpr std::string_view kTokenEmbedding = "token_embd.weight";
inline constexpr std::string_view kPositionEmbedding = "position_embd.weight";
inline constexpr std::string_view kOutput = "output.weight";

inline constexpr uint32_t kMostBlocks = 512;  // runtimes abort above

/// Our architectures under the names of the runtimes.
inline constexpr std::array<std::pair<Arch, std::string_view>, 3> kArchitectures = {
    {{Arch::gpt3, "gpt2"}, {Arch::pythia, "gptneox"}, {Arch::llama, "llama"}}};

/// Keys that start with the architecture's name.
struct ModelKeys {
  explicit ModelKeys(Arch arch);
  std::string architecture;
  std::string context_length;
  std::string embedding_length;
  std::string block_count;
  std::string feed_forward_length;
  std::string head_count;
  std::string head_count_kv;
  std::string key_length;
  std::string value_length;
  std::string norm_epsilon;
  std::string vocab_size;
  std::string parallel_residual;
  std::string rope_dimension_count;
  std::string rope_freq_base;
  std::string rope_scaling_type;
  std::string rope_scaling_factor;
  std::string expert_count;
};

}  // namespace isoflop::gguf
