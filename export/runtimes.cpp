#include "export/runtimes.hpp"

#include "core/error.hpp"
#include "datasets/tokenizer/gguf_keys.hpp"
#include "pretrain/gguf_names.hpp"

#include <algorithm>
#include <array>
#include <set>

namespace isoflop {

namespace {

/// Rules of llama.cpp that all the others inherit; the reader has checked those of the container.
void check_library(const GgufFile& file, RuntimeFindings& findings) {
  const auto problem = [&](std::string text) { findings.problems.push_back(std::move(text)); };
  const std::string architecture(file.text(gguf::kArchitecture));
  if (file.u32(architecture + ".block_count") > gguf::kMostBlocks)
    problem(fmt::format("more than {} blocks end the program", gguf::kMostBlocks));
  for (const GgufTensor& tensor : file.tensors())
    if (tensor.dims.size() == 1 && tensor.codec->type != BlockType::f32)
      problem(fmt::format("{} is a vector in {}; all but F32 end the program", tensor.name,
                          tensor.codec->name));
  const std::vector<std::string_view> tokens = file.texts(gguf::kTokens);
  std::set<std::string_view> known;
  for (const std::string_view token : tokens)
    if (!known.insert(token).second) {
      problem("two tokens with one text end the program");
      break;
    }
  const GgufTensor* embedding = file.find_tensor(gguf::kTokenEmbedding);
  if (embedding && embedding->rows() != static_cast<int64_t>(tokens.size()))
    problem(fmt::format("{} tokens for {} embeddings", tokens.size(), embedding->rows()));
  for (const std::string_view key : {gguf::kBosId, gguf::kEosId})
    if (!file.find_u32(key))
      problem(fmt::format("without {} it takes token 11, some ordinary one", key));
  if (file.text(gguf::kTokenizerModel) == gguf::kByteLevelModel &&
      !file.find_text(gguf::kSplitting))
    findings.notes.push_back(
        fmt::format("without {} text is split by a default rule", gguf::kSplitting));
  if (!file.find(gguf::kTokenTypes))
    findings.notes.push_back("without token types special tokens are plain text");
}

RuntimeFindings check_llama_cpp(const GgufFile& file) {
  RuntimeFindings findings;
  check_library(file, findings);
  if (file.text(gguf::kArchitecture) == "gpt2")
    findings.notes.push_back(fmt::format(
        "positions are learned: a text longer than {} tokens ends the program, so give -c {}",
        file.u32("gpt2.context_length"), file.u32("gpt2.context_length")));
  return findings;
}

RuntimeFindings check_ollama(const GgufFile& file) {
  RuntimeFindings findings;
  check_library(file, findings);
  for (const std::string_view key : {gguf::kFileType, gguf::kName})
    if (!file.find(key))
      findings.notes.push_back(fmt::format("without {} its listing says less", key));
  if (file.text(gguf::kArchitecture) != "llama")
    findings.notes.push_back(
        "its documentation lists llama, not this architecture, which the llama.cpp inside it runs");
  return findings;
}

/// Its llama.cpp is of 2024: what it has a name for, and the types it surely reads.
RuntimeFindings check_gpt4all(const GgufFile& file) {
  static constexpr std::array<std::string_view, 10> kArchitectures = {
      "llama",      "gpt2", "gptneox",  "mpt",  "starcoder",
      "starcoder2", "phi2", "stablelm", "jais", "olmo"};
  static constexpr std::array kTypes = {
      BlockType::f32,  BlockType::f16,  BlockType::q4_0, BlockType::q4_1, BlockType::q5_0,
      BlockType::q5_1, BlockType::q8_0, BlockType::q4_k, BlockType::q5_k, BlockType::q6_k};
  // Names of splitting rules inside its library, of those that this program knows.
  static constexpr std::array<std::string_view, 4> kSplittings = {"gpt-2", "mpt", "llama-bpe",
                                                                  "qwen2"};
  RuntimeFindings findings;
  check_library(file, findings);
  const std::string_view architecture = file.text(gguf::kArchitecture);
  if (architecture == "gpt2" && !file.find_tensor(gguf::kOutput))
    findings.problems.push_back(fmt::format(
        "it wants {} of a gpt2 file, and this one's head is its embedding; only models with "
        "tied_embeddings = false load there",
        gguf::kOutput));
  const auto splitting = file.find_text(gguf::kSplitting);
  if (splitting && file.text(gguf::kTokenizerModel) == gguf::kByteLevelModel &&
      std::find(kSplittings.begin(), kSplittings.end(), *splitting) == kSplittings.end())
    findings.problems.push_back(
        fmt::format("its old llama.cpp knows no splitting of text by the name {}", *splitting));
  if (std::find(kArchitectures.begin(), kArchitectures.end(), architecture) == kArchitectures.end())
    findings.problems.push_back(fmt::format("it has no architecture {}", architecture));
  for (const GgufTensor& tensor : file.tensors())
    if (std::find(kTypes.begin(), kTypes.end(), tensor.codec->type) == kTypes.end()) {
      findings.problems.push_back(
          fmt::format("{} is {}, which its old llama.cpp may not read; "
                      "q4_0 is the safest type",
                      tensor.name, tensor.codec->name));
      break;
    }
  if (is_base_model(file))
    findings.notes.push_back(
        "a base model has no chat template, which its chat asks for; its Python package completes "
        "text without one");
  return findings;
}

constexpr std::array kRuntimes = {Runtime{"llama.cpp", check_llama_cpp},
                                  Runtime{"ollama", check_ollama},
                                  Runtime{"gpt4all", check_gpt4all}};

/// For a POSIX shell.
std::string shell_word(const std::string& text) {
  const bool plain = !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-./+,:@%").find(c) != std::string_view::npos;
  });
  if (plain) return text;
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

/// Names of Ollama's models: lower-case letters, digits and -_.
std::string model_name(const fs::path& file) {
  std::string name;
  for (const char c : file.stem().string()) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
    name += upper ? static_cast<char>(c - 'A' + 'a') : good ? c : '-';
  }
  return name;
}

}  // namespace

const Runtime& find_runtime(std::string_view name) {
  for (const Runtime& runtime : kRuntimes)
    if (runtime.name == name) return runtime;
  fail_user("--for {}: rules are known of llama.cpp, ollama and gpt4all", name);
}

bool is_base_model(const GgufFile& file) {
  return !file.find(gguf::kChatTemplate);
}

fs::path modelfile_path(const fs::path& file) {
  return fs::path(file).replace_extension(".Modelfile");
}

std::string modelfile(const fs::path& file, const GgufFile& gguf) {
  const std::string context = std::string(gguf.text(gguf::kArchitecture)) + ".context_length";
  std::string text =
      fmt::format("FROM ./{}\nPARAMETER num_ctx {}\n", file.filename().string(), gguf.u32(context));
  // Without this a template may be guessed; a base model reads the prompt as it is.
  if (is_base_model(gguf)) text += "TEMPLATE \"\"\"{{ .Prompt }}\"\"\"\n";
  return text;
}

std::vector<std::string> how_to_run(const fs::path& file, const GgufFile& gguf) {
  const bool base = is_base_model(gguf);
  const std::string path = shell_word(file.string()), name = model_name(file);
  const std::string context =
      std::to_string(gguf.u32(std::string(gguf.text(gguf::kArchitecture)) + ".context_length"));
  return {
      base ? "to run it (a base model: it goes on with text and answers no questions):"
           : "to run it (a chat model):",
      base ? fmt::format(
                 "  llama.cpp  llama-completion -m {} -c {} -n 128 -no-cnv -p 'Once upon a time'",
                 path, context)
           : fmt::format("  llama.cpp  llama-cli -m {} -c {}", path, context),
      fmt::format("  Ollama     ollama create {} -f {} && ollama run {}", name,
                  shell_word(modelfile_path(file).string()), name),
      fmt::format("  LM Studio  lms import {}", path),
      fmt::format("  GPT4All    python3 -c \"import gpt4all; print(gpt4all.GPT4All('{}', "
                  "model_path='{}', allow_download=False).generate('Once upon a time'))\"",
                  file.filename().string(), fs::absolute(file).parent_path().string())};
}

}  // namespace isoflop
