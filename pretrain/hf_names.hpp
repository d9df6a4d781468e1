// What our architectures are called in a Hugging Face folder, for the writer (export/) and the
// reader (hf_import.hpp) alike: classes, tensors (ParamSpec::hugging_face) and how these are laid
// out. The keys of config.json are in hf_config.cpp.
#pragma once
#include "core/param.hpp"
#include "pretrain/config/run_config.hpp"

#include <array>
#include <string_view>
#include <vector>

namespace isoflop::hf {

inline constexpr std::string_view kConfig = "config.json";
inline constexpr std::string_view kGenerationConfig = "generation_config.json";
inline constexpr std::string_view kTokenizerConfig = "tokenizer_config.json";
inline constexpr const char* kChatTemplate = "chat_template";  // its key there
inline constexpr std::string_view kChatTemplateFile = "chat_template.jinja";

struct ModelClass {
  Arch arch;
  std::string_view type;    // model_type
  std::string_view name;    // architectures
  std::string_view prefix;  // of all tensors but the head; files of the bare model lack it
};
inline constexpr std::array<ModelClass, 3> kClasses = {
    {{Arch::gpt3, "gpt2", "GPT2LMHeadModel", "transformer."},
     {Arch::pythia, "gpt_neox", "GPTNeoXForCausalLM", "gpt_neox."},
     {Arch::llama, "llama", "LlamaForCausalLM", "model."}}};
const ModelClass& class_of(Arch arch);

/// Fills ParamSpec::hugging_face of every row that has a place there (all but those of qk-norm).
void add_names(const ModelConfig& config, ParamTable& table);

/// A tensor as it is stored: its shape (rows and cols; a vector is rows x 1) and where its elements
/// are among ours.
struct Stored {
  const ForeignName& foreign;
  bool vector;
  int64_t outputs, inputs;  // of ours; a vector has one input
  int64_t rows, cols;

  Stored(const ParamSpec& spec, const ForeignName& name);
  std::vector<int64_t> shape() const;
  /// Our output that stored element (row, col) belongs to, and its input there.
  int64_t output(int64_t row, int64_t col) const;
  int64_t input(int64_t row, int64_t col) const {
    return foreign.layout == Layout::transposed ? row : col;
  }
};

}  // namespace isoflop::hf
