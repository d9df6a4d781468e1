// The keys and fixed names of a model in a GGUF file, for the writer (export/) and the reader
// (gguf_import.hpp) alike. Tensor names are in the parameter table (ParamSpec::gguf).
#pragma once
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

inline constexpr std::string_view kTokenizerModel = "tokenizer.ggml.model";
inline constexpr std::string_view kSplitting = "tokenizer.ggml.pre";
inline constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
inline constexpr std::string_view kTokenTypes = "tokenizer.ggml.token_type";
inline constexpr std::string_view kMerges = "tokenizer.ggml.merges";
inline constexpr std::string_view kBosId = "tokenizer.ggml.bos_token_id";
inline constexpr std::string_view kEosId = "tokenizer.ggml.eos_token_id";
inline constexpr std::string_view kAddBos = "tokenizer.ggml.add_bos_token";
inline constexpr std::string_view kAddEos = "tokenizer.ggml.add_eos_token";

inline constexpr std::string_view kByteLevelModel =
    "gpt2";  // tokenizer.ggml.model of byte-level BPE
inline constexpr std::string_view kGpt2Splitting = "gpt-2";
/// Other names under which runtimes know the very same splitting rule.
inline constexpr std::array<std::string_view, 5> kGpt2SplittingAliases = {"mpt", "olmo", "jais",
                                                                          "phi-2", "exaone4"};

/// tokenizer.ggml.token_type
inline constexpr int kNormalToken = 1;
inline constexpr int kControlToken = 3;
inline constexpr int kUserToken = 4;
inline constexpr int kUnusedToken = 5;

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
