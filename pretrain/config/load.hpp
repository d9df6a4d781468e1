// A RunConfig from preset, file and command line; the later wins.
#pragma once
#include "pretrain/config/run_config.hpp"
#include "pretrain/config/value.hpp"

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace isoflop {

/// Where values came from, and what the user should be told.
struct Origins {
  std::map<std::string, std::string> of;  // key -> "preset NAME" | "run.toml:7" | "command line"
  std::vector<std::string> notes;  // aliases understood, where a preset differs from its paper
};

/// The settings that a model named by model.init stands for; they count as a preset's do.
using ModelSettings = std::function<std::vector<Setting>(const std::filesystem::path& model)>;

/// Reads `file` when given, then `overrides` ("schedule.steps=100", "model.preset=gpt3-125m"),
/// checks every value and what they say together (resolve.hpp). Without `model_settings` model.init
/// is not looked at, which is right for the complete configuration of a run that has started. Of
/// the four keys for the length of a run, one set at a stronger level replaces those of a weaker
/// one. UserError says where, what, and what to do.
RunConfig load_config(const std::optional<std::filesystem::path>& file,
                      const std::vector<std::string>& overrides,
                      Origins& origins,
                      const ModelSettings& model_settings = {});
/// Likewise from text; `name` stands for the file in messages.
RunConfig parse_config(std::string_view text,
                       const std::string& name,
                       const std::vector<std::string>& overrides,
                       Origins& origins,
                       const ModelSettings& model_settings = {});

}  // namespace isoflop
