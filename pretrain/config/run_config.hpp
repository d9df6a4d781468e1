// RunConfig: everything a run depends on. Plain structs; fields.cpp lists every key once (type,
// default, range, help), and parsing, --help, validation, docs and the resolved dump come from that
// list. load.hpp makes one from a file and the command line, resolve.hpp decides what is "auto".
//
// "auto" values are resolved before a run starts and stored resolved, so a resumed run never
// re-decides.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

enum class Arch { gpt3, pythia, llama };
inline constexpr std::string_view kArchNames[] = {"gpt3", "pythia", "llama"};
inline std::string_view name_of(Arch arch) {
  return kArchNames[static_cast<size_t>(arch)];
}
/// gpt3 learns a table of positions; the others rotate queries and keys.
inline bool has_rope(Arch arch) {
  return arch != Arch::gpt3;
}
/// llama has RMSNorm, SwiGLU and no biases; the others LayerNorm, GELU and biases.
inline bool is_llama(Arch arch) {
  return arch == Arch::llama;
}

struct ModelConfig {
  std::string preset;  // where the keys below started from, or empty
  std::string init;    // a model whose shape and parameters the run starts from, or empty
  Arch arch = Arch::gpt3;
  int64_t layers = 6;
  int64_t d_model = 384;
  int64_t heads = 6;
  int64_t kv_heads = 0;  // 0 = heads
  int64_t head_dim = 0;  // 0 = d_model / heads
  int64_t d_ff = 0;      // 0 = 4 d_model; 8/3 d_model rounded up to a multiple of 32 (llama)
  int64_t context = 256;
  int64_t vocabulary = 0;  // rows of the table; 0 = the tokenizer's size
  bool tied_embeddings = true;
  std::string gelu = "tanh";  // tanh | erf
  double norm_eps = 1e-5;
  double rope_base = 10000;
  double rotary_fraction = 0;            // of a head's entries; 0 = 1/4 (pythia), 1 (llama)
  std::string rope_scaling = "none";     // none | linear | llama3
  double rope_scaling_factor = 1;        // how much longer than trained for
  int64_t rope_original_context = 8192;  // of llama3: what the model was trained for
  std::string initializer = "gpt2";      // gpt2 | plain | neox
  double init_std = 0.02;                // of gpt2 and plain
  // Forward multipliers (μP and CompleteP set them; 1 under sp). Folded into plain weights on
  // export.
  double embedding_multiplier = 1;
  double residual_multiplier = 1;
  double output_multiplier = 1;
  double attention_multiplier = 1;  // on 1/sqrt(head_dim)
  // What experts switch on.
  bool biases = true;          // of gpt3 and pythia: in linear maps and norms
  bool qk_norm = false;        // RMSNorm on each head's queries and keys
  double z_loss = 0;           // adds z_loss * log(sum of e^logit)^2 to the training loss
  double logit_softcap = 0;    // logits become cap * tanh(logits / cap); 0 = off
  bool document_mask = false;  // attention stays within a document
  int64_t separator = -1;      // the token that starts a document, for document_mask

  /// Entries of a head that are rotated; 0 in gpt3. Needs a resolved configuration.
  int64_t rotary_dim() const {
    return static_cast<int64_t>(rotary_fraction * static_cast<double>(head_dim) + 1e-9);
  }
};

/// What one entry of data.train or data.valid names.
struct DataEntry {
  std::string path;
  double weight = 0;  // of training data, against the other entries; 0: none was given
  std::string name;   // of a validation set; empty: it belongs to the main one
  bool operator==(const DataEntry&) const = default;
};
inline std::vector<std::string> paths_of(const std::vector<DataEntry>& entries) {
  std::vector<std::string> paths;
  for (const DataEntry& entry : entries) paths.push_back(entry.path);
  return paths;
}
inline std::vector<DataEntry> entries_of(const std::vector<std::string>& paths) {
  std::vector<DataEntry> entries;
  for (const std::string& path : paths) entries.push_back({path, 0, ""});
  return entries;
}

struct DataConfig {
  std::vector<DataEntry> train;  // token files, or text: files, folders, globs, "-"
  std::vector<DataEntry> valid;
  double valid_fraction = 0.01;        // used when `valid` is empty
  std::string split = "auto";          // auto | hash | tail
  std::string tokenizer = "bpe:8192";  // bytes | chars | bpe:N | a file
  std::string field = "text";          // of JSON lines: where the text is
  uint64_t seed = 1;
};

struct ScheduleConfig {
  double tokens_per_parameter = 0;  // exactly one of these four says how long
  double tokens = 0;
  int64_t steps = 0;
  std::string budget;            // "30m", "2h"
  int64_t batch_tokens = 16384;  // tokens per step = slots x k x micro_batch x context
  double batch_ramp = 0;         // tokens over which a step grows to batch_tokens; 0 = none
  int64_t batch_ramp_from = 0;   // tokens of the first step; 0 = one micro-batch a slot
  int64_t micro_batch = 0;       // sequences; 0 = auto
  int64_t slots = 0;             // 0 = auto
  std::string decay = "linear";  // linear | cosine | wsd | constant
  std::string warmup = "1%";     // "1%" | "375Mtok" | "1525steps"
  double final_lr_fraction = 0.1;
  double cooldown_fraction = 0.2;  // of the steps, for wsd and `quantize`
  std::string quantize = "none";   // none | q4_0: the grid of the cool-down's forward pass
};

struct OptimizerConfig {
  std::string kind = "adamw";  // adamw | muon
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.95;  // key: betas = [0.9, 0.95]
  double eps = 1e-8;
  double momentum = 0.95;  // of muon
  double weight_decay = 0.1;
  double clip = 1.0;           // 0 = off
  std::string state = "fp32";  // fp32 | bf16: what moments are kept in
};

/// What the sizes are compared with, and the multipliers that all sizes share; the rules are in
/// muP/parametrization.hpp.
struct ParametrizationConfig {
  std::string kind = "sp";            // sp | mup | completep
  int64_t base_d_model = 0;           // 0 = not given
  int64_t base_d_ff = 0;              // 0 = auto: d_ff shrunk as d_model is
  int64_t base_layers = 0;            // 0 = not given; completep needs it
  double alpha = 1;                   // depth exponent of completep
  std::string decay = "independent";  // independent | coupled
  std::string epsilon = "scaled";     // scaled | fixed
  double embedding_multiplier = 1;
  double residual_multiplier = 1;
  double output_multiplier = 1;
  double attention_multiplier = 1;
};

struct ComputeConfig {
  std::string device = "auto";       // cuda | cpu
  std::string dtype = "auto";        // fp32 | bf16
  std::string bf16_kernel = "auto";  // amx | avx512-bf16 | portable
  int threads = 0;                   // 0 = auto
  std::string recompute = "none";    // none | cheap | ffn | block
};

/// How the ranks share a run. Stages do not change a bit of it; parts change the rounding of sums
/// inside matrix products. What is left after both are copies of the model.
struct ParallelConfig {
  int64_t tp = 1;  // parts of each matrix
  int64_t pp = 1;  // stages of the pipeline
};

struct CheckpointConfig {
  int64_t every = 500;            // steps; 0 = only at the end
  int64_t keep = 2;               // last k; 0 = all
  int64_t keep_every = 0;         // those at multiples of this many steps stay; 0 = none
  std::string schedule = "none";  // none | pythia: log-spaced ones that stay, besides `every`
  bool initial = false;           // also step 0, before training
};

struct GuardConfig {
  std::string spikes = "off";  // off | skip | rewind
  double threshold = 6;        // standard deviations above the mean of the window
  int64_t window = 128;        // steps looked back on
  int64_t around = 1;          // steps before and after a spike that a rewind leaves out
  int64_t rewinds = 3;         // after this many the run gives up
};

/// What `plan` promised, for the run to be held to (pretrain/train/forecast.hpp). In nats per
/// token.
struct PlanConfig {
  double loss = 0;  // of the finished run; 0 = nothing was promised
  double loss_low = 0, loss_high = 0;
  double floor = 0;     // the loss of this model after any number of tokens
  double exponent = 0;  // of the tokens
  std::string law;      // where it is from
};

struct EvalConfig {
  int64_t every = 0;         // steps between validations; 0 = auto (20 times a run)
  int64_t sample_every = 0;  // steps between sample texts; 0 = never
  std::string sample_prompt;
};

struct OutputConfig {
  std::string name = "run";
  int64_t hash_every = 100;  // steps between parameter hashes in metrics.jsonl
  bool tensorboard = true;
  bool prometheus = true;         // metrics.prom
  int64_t layer_stats_every = 0;  // steps between statistics of every parameter; 0 = never
};

struct RunConfig {
  ModelConfig model;
  DataConfig data;
  ScheduleConfig schedule;
  OptimizerConfig optimizer;
  ParametrizationConfig parametrization;
  ComputeConfig compute;
  ParallelConfig parallel;
  CheckpointConfig checkpoint;
  GuardConfig guard;
  PlanConfig plan;
  EvalConfig eval;
  OutputConfig output;
};

}  // namespace isoflop
