// A run small enough to be trained a hundred times in a test: a few milliseconds a step.
#pragma once
#include "core/rng.hpp"
#include "report/metrics.hpp"
#include "tests/support/program.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace isoflop::test {

/// Prose-like text of about `bytes` bytes; the same for the same seed.
inline std::string tiny_text(size_t bytes, uint64_t seed = 1) {
  static const char* const kWords[] = {"the",   "sea",  "was",  "calm",   "and",   "a",
                                       "ship",  "lay",  "at",   "anchor", "while", "gulls",
                                       "cried", "over", "grey", "water"};
  std::string text;
  for (uint64_t i = 0; text.size() < bytes; ++i) {
    text += kWords[philox(seed, 0, i)[0] % std::size(kWords)];
    text += i % 12 == 11 ? ".\n" : " ";
  }
  return text;
}

inline std::string write_text(const std::filesystem::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
  return path.string();
}

/// A run.toml that does not depend on what is fast here; `more` are lines of TOML with dotted keys
/// that come first.
inline std::string tiny_config(const std::string& text_file, const std::string& more = "") {
  return more + R"(
model.layers = 2
model.d_model = 32
model.heads = 2
model.context = 16
data.train = [")" +
         text_file + R"("]
data.tokenizer = "bpe:300"
data.valid_fraction = 0.05
schedule.steps = 60
schedule.batch_tokens = 256
schedule.slots = 4
schedule.micro_batch = 2
optimizer.lr = 1e-2
compute.dtype = "fp32"
checkpoint.every = 7
eval.every = 20
output.hash_every = 1
output.tensorboard = false
)";
}

/// For runs in bf16 that must have the bits of `run`, whatever another measurement would say.
inline std::string same_kernel_as(const std::filesystem::path& run) {
  std::ifstream file(run / "kernel-plan.json");
  return "compute.bf16_kernel=" + nlohmann::json::parse(file).at("bf16_kernel").get<std::string>();
}

/// The lines of metrics.jsonl without what the machine decides.
inline std::vector<std::string> deterministic_metrics(const std::filesystem::path& run) {
  std::vector<std::string> lines;
  std::ifstream file(run / "metrics.jsonl");
  for (std::string line; std::getline(file, line);) lines.push_back(deterministic_part(line));
  return lines;
}

}  // namespace isoflop::test
