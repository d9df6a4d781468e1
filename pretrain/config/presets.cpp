#include "pretrain/config/presets.hpp"

#include "core/error.hpp"
#include "pretrain/config/nearest.hpp"

#include <fmt/format.h>

namespace isoflop {

namespace {

struct Shape {
  const char* name;
  int64_t layers, d_model, heads;
  int64_t d_ff;       // 0 = the architecture's rule
  int64_t sequences;  // in a step
  double lr;
  const char* decay;
};

// Brown et al. 2020, table 2.1. Two misprints are corrected as everybody does: 1.3b has 16 heads
// (24 x 128 is not 2048), 13b is 5120 wide (40 x 128). Batches of 0.5M, 1M, 2M and 3.2M tokens.
constexpr Shape kGpt3[] = {
    {"gpt3-125m", 12, 768, 12, 0, 256, 6e-4, "cosine"},
    {"gpt3-350m", 24, 1024, 16, 0, 256, 3e-4, "cosine"},
    {"gpt3-760m", 24, 1536, 16, 0, 256, 2.5e-4, "cosine"},
    {"gpt3-1.3b", 24, 2048, 16, 0, 512, 2e-4, "cosine"},
    {"gpt3-2.7b", 32, 2560, 32, 0, 512, 1.6e-4, "cosine"},
    {"gpt3-6.7b", 32, 4096, 32, 0, 1024, 1.2e-4, "cosine"},
    {"gpt3-13b", 40, 5120, 40, 0, 1024, 1e-4, "cosine"},
    {"gpt3-175b", 96, 12288, 96, 0, 1536, 0.6e-4, "cosine"},
};

// Dey et al. 2023, table 1: 20 tokens per parameter, warm-up over 375M tokens.
constexpr Shape kCerebras[] = {
    {"cerebras-111m", 10, 768, 12, 0, 120, 6e-4, "linear"},
    {"cerebras-256m", 14, 1088, 17, 0, 264, 6e-4, "linear"},
    {"cerebras-590m", 18, 1536, 12, 0, 264, 2e-4, "linear"},
    {"cerebras-1.3b", 24, 2048, 16, 0, 528, 2e-4, "cosine"},
    {"cerebras-2.7b", 32, 2560, 32, 0, 528, 2e-4, "cosine"},
    {"cerebras-6.7b", 32, 4096, 32, 0, 1040, 1.2e-4, "linear"},
    {"cerebras-13b", 40, 5120, 40, 0, 1080, 1.2e-4, "cosine"},
};

// Touvron et al. 2023, table 2: 4M tokens in a step, 2,000 steps of warm-up, cosine to a tenth.
constexpr Shape kLlama[] = {
    {"llama-7b", 32, 4096, 32, 11008, 2048, 3e-4, "cosine"},
    {"llama-13b", 40, 5120, 40, 13824, 2048, 3e-4, "cosine"},
    {"llama-33b", 60, 6656, 52, 17920, 2048, 1.5e-4, "cosine"},
    {"llama-65b", 80, 8192, 64, 22016, 2048, 1.5e-4, "cosine"},
};

// Small enough for a test to train in a second.
constexpr Shape kTiny[] = {
    {"tiny-gpt3", 2, 32, 2, 0, 8, 3e-3, "linear"},
    {"tiny-llama", 2, 32, 2, 64, 8, 3e-3, "linear"},
};

struct Builder {
  Preset preset;
  void set(const char* key, Value value) {
    preset.settings.push_back({key, std::move(value), "preset " + preset.name});
  }
};

Builder common(const Shape& shape, const char* arch, int64_t context, int64_t vocabulary) {
  Builder builder;
  builder.preset.name = shape.name;
  builder.set("model.arch", std::string(arch));
  builder.set("model.layers", shape.layers);
  builder.set("model.d_model", shape.d_model);
  builder.set("model.heads", shape.heads);
  if (shape.d_ff) builder.set("model.d_ff", shape.d_ff);
  builder.set("model.context", context);
  builder.set("model.vocabulary", vocabulary);
  builder.set("schedule.batch_tokens", shape.sequences * context);
  builder.set("schedule.decay", std::string(shape.decay));
  builder.set("optimizer.lr", shape.lr);
  return builder;
}

Preset gpt3(const Shape& shape) {
  Builder builder = common(shape, "gpt3", 2048, 50257);
  builder.set("schedule.tokens", 300e9);
  builder.set("schedule.warmup", std::string("375Mtok"));
  builder.preset.notes = {
      "GPT-3 grew its batch over the first 4-12B tokens, ended its decay at 260B of 300B tokens "
      "and used "
      "banded attention in every other layer; here the batch is constant, the decay ends with the "
      "run and attention is dense"};
  return builder.preset;
}

Preset cerebras(const Shape& shape) {
  Builder builder = common(shape, "gpt3", 2048, 50257);
  builder.set("schedule.tokens_per_parameter", 20.0);
  builder.set("schedule.warmup", std::string("375Mtok"));
  if (shape.d_model >= 4096) builder.set("optimizer.eps", 1e-9);
  builder.preset.notes = {
      "Cerebras-GPT was published with the exact GELU; this preset uses the tanh form that GGUF "
      "runtimes compute (model.gelu=erf follows the paper)"};
  if (shape.d_model == 5120) {
    builder.preset.notes.push_back(
        "Cerebras-GPT 13B trained on 720 sequences a step up to 84B tokens and 1080 after; here it "
        "is "
        "1080 throughout");
  }
  return builder.preset;
}

Preset llama(const Shape& shape) {
  const bool largest = shape.d_model == 8192;
  Builder builder = common(shape, "llama", 2048, 32000);
  builder.set("model.tied_embeddings", false);
  builder.set("model.norm_eps", largest ? 1e-5 : 1e-6);
  builder.set("schedule.tokens", shape.layers >= 60 ? 1.4e12 : 1e12);
  builder.set("schedule.warmup", std::string("2000steps"));
  return builder.preset;
}

Preset tiny(const Shape& shape) {
  const bool is_llama = shape.d_ff != 0;
  Builder builder = common(shape, is_llama ? "llama" : "gpt3", 16, 272);
  if (is_llama) builder.set("model.tied_embeddings", false);
  builder.set("data.tokenizer", std::string("bytes"));
  builder.set("schedule.steps", int64_t{20});
  builder.set("schedule.warmup", std::string("2steps"));
  return builder.preset;
}

std::vector<Preset> all_presets() {
  std::vector<Preset> presets;
  for (const Shape& shape : kTiny) presets.push_back(tiny(shape));
  for (const Shape& shape : kGpt3) presets.push_back(gpt3(shape));
  for (const Shape& shape : kCerebras) presets.push_back(cerebras(shape));
  for (const Shape& shape : kLlama) presets.push_back(llama(shape));
  return presets;
}

}  // namespace

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Preset& preset : all_presets()) names.push_back(preset.name);
  return names;
}

Preset find_preset(std::string_view name) {
  for (Preset& preset : all_presets()) {
    if (preset.name == name) return std::move(preset);
  }
  const std::string nearest = nearest_word(name, preset_names());
  if (!nearest.empty()) fail_user("there is no preset {}; did you mean {}?", name, nearest);
  fail_user("there is no preset {}; the presets are {}", name, fmt::join(preset_names(), ", "));
}

}  // namespace isoflop
