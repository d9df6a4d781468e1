// `export M --hf DIR`: the part of export that writes a Hugging Face folder, and what it shares
// with the part that writes GGUF.
#pragma once
#include "core/error.hpp"
#include "core/param.hpp"
#include "export/model_card.hpp"
#include "launch/context.hpp"
#include "launch/flags.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace isoflop {

class LanguageModel;

/// What is asked of every export.
struct ExportRequest {
  std::string model;
  std::string name;     // of the model, for people; empty: that of what is written
  std::string license;  // as the user gives it
  bool force = false;
  int threads = 0;
};

ModelCard card_of(const std::string& origin,
                  const ModelConfig& model,
                  const ParamTable& table,
                  const ExportRequest& request,
                  const std::string& name,
                  const std::string& type,
                  std::vector<std::string>& notes);

struct HfOptions {
  std::string folder;
  std::string dtype = "f32";
  uint64_t shard_bytes = 5'000'000'000;
  bool verify = false;
  std::string chat_template;  // text; "" = the model's own
};

void declare_hf(Flags& app, HfOptions& options);

ExitCode export_hf_folder(const ExportRequest& request,
                          const HfOptions& options,
                          const Context& context);

}  // namespace isoflop
