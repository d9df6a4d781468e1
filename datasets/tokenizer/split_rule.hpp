// SplitRule: how text is cut into pieces before byte-pair merges, which never cross a piece. A rule
// is a list of steps, each cutting the pieces of the one before; the rules that models are trained
// with have names, which travel into GGUF (tokenizer.ggml.pre).
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct SplitStep {
  enum class Kind {
    gpt2,          // GPT-2's pattern
    llama3,        // Llama 3's: numbers of up to three digits, contractions in any case, ...
    qwen2,         // the same with single digits
    numbers,       // each \p{N} stands alone
    number_runs,   // each run of \p{N} stands alone
    pattern,       // what `text` matches stands alone, and what lies between
    literal,       // the same for a text as it is
    space_prefix,  // puts a space before a piece that begins without
  };
  Kind kind;
  std::string text;  // pattern and literal only

  bool operator==(const SplitStep&) const = default;
};

struct SplitRule {
  std::vector<SplitStep> steps;  // none: all text is one piece

  /// "gpt-2", "llama-bpe", "qwen2", "smollm", as GGUF calls them, or one of the aliases under which
  /// runtimes know the very same rule. Nothing for another name.
  static std::optional<SplitRule> find(std::string_view name);
  /// The same; UserError listing the names.
  static SplitRule named(const std::string& name);

  /// Its name, "" for a rule without one.
  std::string name() const;
  bool operator==(const SplitRule&) const = default;
};

/// The steps as regular expressions, as files write them; "" for a step that is none.
std::string pattern_of(SplitStep::Kind kind);

}  // namespace isoflop
