// `inspect M --runs-on DEVICE` and `plan --runs-on DEVICE`: whether a model runs there.
#pragma once
#include "launch/context.hpp"
#include "scaling/devices.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

namespace isoflop {

/// A file's own weights; of anything else that is a model, its shape as Q4_0.
struct ModelToRun {
  ModelConfig config;
  ModelWeights weights;
};
ModelToRun model_to_run(const std::filesystem::path& path);
/// From the shape alone. UserError without a vocabulary.
ModelToRun model_to_run(const ModelConfig& config);

/// What both commands say of one device under --json.
nlohmann::ordered_json device_json(const Device& device,
                                   const ModelWeights& weights,
                                   const DeviceFit& fit,
                                   int64_t context_tokens);

/// Prints a table per device and gives the result; kGate when one of them is too small. `context`
/// 0: the model's own. UserError for an unknown device or a context beyond the model's.
ExitCode print_runs_on(const ModelToRun& model,
                       const std::vector<std::string>& device_names,
                       int64_t context_tokens,
                       const Context& context);

}  // namespace isoflop
