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

// Radford et al. 2019, table 2; the recipe is GPT-3's for the size, since none was published.
constexpr Shape kGpt2[] = {
    {"gpt2-124m", 12, 768, 12, 0, 512, 6e-4, "cosine"},
    {"gpt2-355m", 24, 1024, 16, 0, 512, 3e-4, "cosine"},
    {"gpt2-774m", 36, 1280, 20, 0, 512, 2.5e-4, "cosine"},
    {"gpt2-1558m", 48, 1600, 25, 0, 512, 2e-4, "cosine"},
};

// Biderman et al. 2023, table 1 and the released configurations: 2M tokens in a step, 143,000
// steps, 1% of warm-up. The table's rows were padded to a multiple of 128 x the ranks that shared
// it.
struct PythiaShape {
  Shape shape;
  int64_t vocabulary;
};
constexpr PythiaShape kPythia[] = {
    {{"pythia-14m", 6, 128, 4, 0, 1024, 1e-3, "cosine"}, 50304},
    {{"pythia-31m", 6, 256, 8, 0, 1024, 1e-3, "cosine"}, 50304},
    {{"pythia-70m", 6, 512, 8, 0, 1024, 1e-3, "cosine"}, 50304},
    {{"pythia-160m", 12, 768, 12, 0, 1024, 6e-4, "cosine"}, 50304},
    {{"pythia-410m", 24, 1024, 16, 0, 1024, 3e-4, "cosine"}, 50304},
    {{"pythia-1b", 16, 2048, 8, 0, 1024, 3e-4, "cosine"}, 50304},
    {{"pythia-1.4b", 24, 2048, 16, 0, 1024, 2e-4, "cosine"}, 50304},
    {{"pythia-2.8b", 32, 2560, 32, 0, 1024, 1.6e-4, "cosine"}, 50304},
    {{"pythia-6.9b", 32, 4096, 32, 0, 1024, 1.2e-4, "cosine"}, 50432},
    {{"pythia-12b", 36, 5120, 40, 0, 1024, 1.2e-4, "cosine"}, 50688},
};

// Touvron et al. 2023a, table 2, and 2023b, section 2: 4M tokens in a step, 2,000 steps of warm-up,
// cosine to a tenth. Llama 3 8B: Dubey et al. 2024, table 3, at its first batch size.
struct LlamaShape {
  Shape shape;
  int64_t kv_heads, context, vocabulary;
  double tokens, eps, rope_base;
};
constexpr LlamaShape kLlama[] = {
    {{"llama-7b", 32, 4096, 32, 11008, 2048, 3e-4, "cosine"}, 32, 2048, 32000, 1e12, 1e-6, 1e4},
    {{"llama-13b", 40, 5120, 40, 13824, 2048, 3e-4, "cosine"}, 40, 2048, 32000, 1e12, 1e-6, 1e4},
    {{"llama-33b", 60, 6656, 52, 17920, 2048, 1.5e-4, "cosine"},
     52,
     2048,
     32000,
     1.4e12,
     1e-6,
     1e4},
    {{"llama-65b", 80, 8192, 64, 22016, 2048, 1.5e-4, "cosine"},
     64,
     2048,
     32000,
     1.4e12,
     1e-5,
     1e4},
    {{"llama2-7b", 32, 4096, 32, 11008, 1024, 3e-4, "cosine"}, 32, 4096, 32000, 2e12, 1e-5, 1e4},
    {{"llama2-13b", 40, 5120, 40, 13824, 1024, 3e-4, "cosine"}, 40, 4096, 32000, 2e12, 1e-5, 1e4},
    {{"llama2-34b", 48, 8192, 64, 22016, 1024, 1.5e-4, "cosine"}, 8, 4096, 32000, 2e12, 1e-5, 1e4},
    {{"llama2-70b", 80, 8192, 64, 28672, 1024, 1.5e-4, "cosine"}, 8, 4096, 32000, 2e12, 1e-5, 1e4},
    {{"llama3-8b", 32, 4096, 32, 14336, 512, 3e-4, "cosine"}, 8, 8192, 128256, 15e12, 1e-5, 5e5},
};

// Small enough for a test to train in a second.
constexpr Shape kTiny[] = {
    {"tiny-gpt3", 2, 32, 2, 0, 8, 3e-3, "linear"},
    {"tiny-pythia", 2, 32, 2, 0, 8, 3e-3, "linear"},
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

/// Dey et al. 2023, appendix G, and the released configurations of the five muP models: same
/// shapes, batches and lengths as their twins.
Preset cerebras_mup(const Shape& shape) {
  Preset preset = cerebras(shape);
  Builder builder;
  builder.preset.name = preset.name + "-mup";
  for (const Setting& setting : preset.settings)
    if (setting.key != "optimizer.lr" && setting.key != "schedule.decay")
      builder.set(setting.key.c_str(), setting.value);
  builder.set("schedule.decay", std::string("linear"));
  builder.set("optimizer.lr", 6e-3);
  builder.set("model.init_std", 0.08);
  builder.set("parametrization.kind", std::string("mup"));
  builder.set("parametrization.base_d_model", int64_t{256});
  builder.set("parametrization.base_d_ff", int64_t{1024});
  builder.set("parametrization.embedding_multiplier", 10.0);
  builder.set("parametrization.decay", std::string("coupled"));
  builder.set("parametrization.epsilon", std::string("fixed"));
  builder.preset.notes = preset.notes;
  builder.preset.notes.push_back(
      "Cerebras-GPT drew its parameters from a normal distribution cut at two deviations; here it "
      "is not cut");
  if (shape.d_model >= 2048)
    builder.preset.notes.push_back(
        "the paper gives this model a linear decay, as here; its released configuration a cosine");
  return builder.preset;
}

Preset gpt2(const Shape& shape) {
  Builder builder = common(shape, "gpt3", 1024, 50257);
  builder.set("schedule.tokens_per_parameter", 20.0);
  builder.set("schedule.warmup", std::string("375Mtok"));
  builder.preset.notes = {
      "OpenAI published GPT-2's shape but not its recipe; rates and warm-up here are GPT-3's"};
  return builder.preset;
}

Preset pythia(const PythiaShape& row) {
  const bool largest = row.shape.d_model >= 4096;
  Builder builder = common(row.shape, "pythia", 2048, row.vocabulary);
  builder.set("model.tied_embeddings", false);
  builder.set("model.initializer", std::string(largest ? "gpt2" : "neox"));
  builder.set("schedule.steps", int64_t{143000});
  builder.set("schedule.warmup", std::string("1%"));
  builder.preset.notes = {
      "Pythia trained with the tanh form of GELU, as here; its published configurations name the "
      "exact form"};
  if (row.shape.d_model == 2048 && row.shape.layers == 16)
    builder.preset.notes.push_back(
        "the paper gives Pythia 1B a rate of 3e-4, as here; its released configuration 2.5e-4");
  return builder.preset;
}

Preset llama(const LlamaShape& row) {
  Builder builder = common(row.shape, "llama", row.context, row.vocabulary);
  if (row.kv_heads != row.shape.heads) builder.set("model.kv_heads", row.kv_heads);
  builder.set("model.tied_embeddings", false);
  builder.set("model.norm_eps", row.eps);
  if (row.rope_base != 1e4) builder.set("model.rope_base", row.rope_base);
  builder.set("schedule.tokens", row.tokens);
  builder.set("schedule.warmup", std::string("2000steps"));
  if (std::string_view(row.shape.name).substr(0, 6) == "llama2") builder.set("optimizer.eps", 1e-5);
  return builder.preset;
}

Preset tiny(const Shape& shape) {
  const std::string arch = std::string(shape.name).substr(5);
  Builder builder = common(shape, arch.c_str(), 16, 272);
  if (arch != "gpt3") builder.set("model.tied_embeddings", false);
  builder.set("data.tokenizer", std::string("bytes"));
  builder.set("schedule.steps", int64_t{20});
  builder.set("schedule.warmup", std::string("2steps"));
  return builder.preset;
}

std::vector<Preset> all_presets() {
  std::vector<Preset> presets;
  for (const Shape& shape : kTiny) presets.push_back(tiny(shape));
  for (const Shape& shape : kGpt2) presets.push_back(gpt2(shape));
  for (const Shape& shape : kGpt3) presets.push_back(gpt3(shape));
  for (const Shape& shape : kCerebras) presets.push_back(cerebras(shape));
  for (const Shape& shape : kCerebras)
    if (shape.d_model < 4096) presets.push_back(cerebras_mup(shape));
  for (const PythiaShape& row : kPythia) presets.push_back(pythia(row));
  for (const LlamaShape& row : kLlama) presets.push_back(llama(row));
  return presets;
}

}  // namespace

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Preset& preset : all_presets()) names.push_back(preset.name);
  return names;
}

Preset find_preset(std::string_view name, std::string_view where) {
  for (Preset& preset : all_presets()) {
    if (preset.name == name) return std::move(preset);
  }
  const std::string nearest = nearest_word(name, preset_names());
  if (!nearest.empty())
    fail_user("{}: there is no preset {}; did you mean {}?", where, name, nearest);
  fail_user("{}: there is no preset {}; the presets are {}", where, name,
            fmt::join(preset_names(), ", "));
}

}  // namespace isoflop
