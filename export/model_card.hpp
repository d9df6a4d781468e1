// What a reader must know about a model before using it: what it was made from and how. One record,
// shown as README.md of a Hugging Face folder and as general.* keys of a GGUF file.
//
// Everything is taken from the run (config, data-manifest.json, checkpoint); what nobody wrote
// down, such as the licence of the data, is said to be unknown unless the user gives it.
#pragma once
#include "core/file.hpp"
#include "pretrain/checkpoint/train_state.hpp"
#include "pretrain/config/run_config.hpp"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace isoflop {

struct CardSource {
  std::string path;     // as the manifest has it
  uint64_t bytes = 0;   // of text; 0 = not known
  uint64_t tokens = 0;  // of a store, 0 for a file within one
  std::string hash;     // XXH3 of the file's content, or the store's fingerprint
};

/// A certified file of the model, as measured then.
struct QuantizedFile {
  std::string type;  // q4_k_m
  double bits_per_weight = 0, mean_kl = 0, perplexity_ratio = 0, top1_agreement = 0;
  int64_t tokens = 0;  // it was compared on
  std::string sha256;
};

/// What a run leaves behind about itself.
struct TrainingRecord {
  RunConfig config;
  TrainState state;  // losses, tokens, steps and the text of the config, of the checkpoint
  std::vector<CardSource> data;
  std::string order_hash;  // of all that decides which tokens are read in which order
  std::string compute;     // in words: how and on what, from environment.json; "" = not known
  std::vector<QuantizedFile> quantized;  // of this step's model, by type
};

/// Of a run folder or a checkpoint in one; none for a model in another program's file, nor for one
/// imported from there. A manifest that cannot be read is left out and said in `notes`.
std::optional<TrainingRecord> read_training_record(const fs::path& model,
                                                   std::vector<std::string>& notes);

/// Keeps what a certificate measured (its JSON) of a file of `type` in RUN/quantized.json, for the
/// cards written from now on. `model`: the run folder or a checkpoint in one.
void record_quantized(const fs::path& model,
                      const std::string& type,
                      double bits_per_weight,
                      const nlohmann::ordered_json& certificate);

struct ModelCard {
  std::string name;
  std::string license;  // as the user gives it, "apache-2.0"; "" = not given
  std::string origin;   // what was exported
  int64_t parameters = 0;
  const ModelConfig& model;
  std::optional<TrainingRecord> training = {};
  std::string type = {};  // of the written weights: "f32", "q4_0"
  bool chat = false;      // has a chat template; otherwise it is a base model
};

/// Markdown with the front matter that hubs read.
std::string model_card_text(const ModelCard& card);

/// general.license, general.description, and what the card says of data and training; texts, in
/// this order.
std::vector<std::pair<std::string, std::string>> model_card_keys(const ModelCard& card);

}  // namespace isoflop
