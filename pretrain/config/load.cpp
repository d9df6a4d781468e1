#include "pretrain/config/load.hpp"

#include "core/error.hpp"
#include "core/file.hpp"
#include "pretrain/config/aliases.hpp"
#include "pretrain/config/fields.hpp"
#include "pretrain/config/presets.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/config/toml_file.hpp"

#include <algorithm>

namespace isoflop {

namespace {

bool is_length_key(const std::string& key) {
  return std::find(kLengthKeys.begin(), kLengthKeys.end(), key) != kLengthKeys.end();
}

/// Replaces other tools' names by ours and refuses what nobody knows.
void canonicalize(std::vector<Setting>& settings, std::vector<std::string>& notes) {
  for (Setting& setting : settings) {
    if (find_field(setting.key)) continue;
    const std::string ours = key_for_alias(setting.key);
    if (ours.empty()) {
      setting.key = setting.key.substr(0, 200);  // a message is for reading
      fail_user("{}: unknown key {}; {}", setting.where, setting.key,
                nearest_key_hint(setting.key));
    }
    notes.push_back(fmt::format("{}: {} is read as {}", setting.where, setting.key, ours));
    setting.key = ours;
    if (auto* steps = std::get_if<int64_t>(&setting.value); steps && ours == "schedule.warmup") {
      setting.value = std::to_string(*steps) + "steps";
    }
  }
}

/// Within one file a key may come once, under whichever name.
void refuse_repeats(const std::vector<Setting>& settings) {
  for (size_t i = 0; i < settings.size(); ++i) {
    for (size_t j = 0; j < i; ++j) {
      if (settings[i].key != settings[j].key) continue;
      fail_user("{}: {} is already set at {}; remove one of the two", settings[i].where,
                settings[i].key, settings[j].where);
    }
  }
}

std::vector<Setting> parse_overrides(const std::vector<std::string>& overrides) {
  std::vector<Setting> settings;
  for (const std::string& text : overrides) {
    const size_t equals = text.find('=');
    if (equals == text.npos || equals == 0) {
      fail_user("\"{}\" is not an assignment; write key=value, for example optimizer.lr=3e-3",
                text);
    }
    Setting setting;
    setting.key = text.substr(0, equals);
    setting.where = "command line";
    setting.value = parse_value(text.substr(equals + 1), setting.where + ": " + setting.key);
    // Text that happens to read as a number or a flag (output.name=7) stays text.
    const Field* field = find_field(setting.key);
    const bool other = std::holds_alternative<bool>(setting.value) ||
                       std::holds_alternative<int64_t>(setting.value) ||
                       std::holds_alternative<double>(setting.value);
    if (field && field->kind == FieldKind::text && other) setting.value = text.substr(equals + 1);
    settings.push_back(std::move(setting));
  }
  return settings;
}

void clear_length(RunConfig& config, Origins& origins) {
  config.schedule.tokens_per_parameter = 0;
  config.schedule.tokens = 0;
  config.schedule.steps = 0;
  config.schedule.budget.clear();
  for (const std::string_view key : kLengthKeys) origins.of.erase(std::string(key));
}

void apply(const std::vector<Setting>& settings, RunConfig& config, Origins& origins) {
  const Setting* length = nullptr;
  for (const Setting& setting : settings) {
    if (!is_length_key(setting.key)) continue;
    if (length && length->key != setting.key) {
      fail_user("{}: {} and {} both say how long the run is; keep one", setting.where, length->key,
                setting.key);
    }
    length = &setting;
  }
  if (length) clear_length(config, origins);
  for (const Setting& setting : settings) {
    find_field(setting.key)->set(config, setting);
    const auto* text = std::get_if<std::string>(&setting.value);
    if (text && *text == "auto") {
      origins.of.erase(setting.key);
    } else {
      origins.of[setting.key] = setting.where;
    }
  }
}

/// The model section's starting point: what the strongest level says, and where.
struct Start {
  std::string preset, init, where;
};

Start chosen_start(const std::vector<Setting>& file, const std::vector<Setting>& overrides) {
  RunConfig config;
  std::string where;
  for (const auto* level : {&file, &overrides}) {
    for (const Setting& setting : *level) {
      if (setting.key != "model.preset" && setting.key != "model.init") continue;
      find_field(setting.key)->set(config, setting);
      where = setting.where;
    }
  }
  return {config.model.preset, config.model.init, where};
}

RunConfig assemble(std::vector<Setting> file,
                   const std::vector<std::string>& overrides,
                   Origins& origins,
                   const ModelSettings& model_settings) {
  std::vector<Setting> command_line = parse_overrides(overrides);
  canonicalize(file, origins.notes);
  canonicalize(command_line, origins.notes);
  refuse_repeats(file);

  RunConfig config;
  const Start start = chosen_start(file, command_line);
  if (!start.init.empty() && model_settings) {
    if (!start.preset.empty())
      fail_user("model.preset and model.init both say what the model is; keep one");
    apply(model_settings(start.init), config, origins);
  }
  if (!start.preset.empty()) {
    const Preset preset = find_preset(start.preset, start.where);
    apply(preset.settings, config, origins);
    origins.notes.insert(origins.notes.end(), preset.notes.begin(), preset.notes.end());
  }
  apply(file, config, origins);
  apply(command_line, config, origins);
  check_config(config);
  return config;
}

}  // namespace

RunConfig load_config(const std::optional<std::filesystem::path>& file,
                      const std::vector<std::string>& overrides,
                      Origins& origins,
                      const ModelSettings& model_settings) {
  if (!file) return assemble({}, overrides, origins, model_settings);
  return parse_config(read_file(*file), file->string(), overrides, origins, model_settings);
}

RunConfig parse_config(std::string_view text,
                       const std::string& name,
                       const std::vector<std::string>& overrides,
                       Origins& origins,
                       const ModelSettings& model_settings) {
  return assemble(parse_toml(text, name), overrides, origins, model_settings);
}

}  // namespace isoflop
