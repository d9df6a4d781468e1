// What a file is, as JSON with `kind` first; `inspect` prints it.
#pragma once
#include "datasets/token_store.hpp"
#include "launch/context.hpp"
#include "pretrain/config/load.hpp"

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>

namespace isoflop {

/// A token store, GGUF file, tokenizer, checkpoint or run folder; looks into the file, not at its
/// name. UserError when it is none of them. `verify` also compares a token store's hashes.
nlohmann::ordered_json describe_file(const std::filesystem::path& path, bool verify);

nlohmann::ordered_json describe_store(const std::filesystem::path& path, bool verify);
nlohmann::ordered_json describe_store(const TokenStore& store, bool verified);
nlohmann::ordered_json describe_tokenizer(const std::filesystem::path& path);

/// Scalars one a line, lists by their length: what a person wants at a glance.
void print_description(const Context& context, const nlohmann::ordered_json& description);

struct RunDescription {
  std::string toml;               // resolved, with origins
  nlohmann::ordered_json config;  // key -> resolved value
  nlohmann::ordered_json counts;  // parameters, FLOPs, steps, tokens: what the config alone decides
};
RunDescription describe_run(const RunConfig& config, const Origins& origins);

}  // namespace isoflop
