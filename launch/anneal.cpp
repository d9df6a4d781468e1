#include "launch/anneal.hpp"

#include "core/error.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/optim/schedule.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace isoflop {

namespace {

constexpr std::array<std::string_view, 3> kFree = {
    "schedule.cooldown_fraction", "schedule.final_lr_fraction", "schedule.quantize"};

void link_or_copy(const fs::path& from, const fs::path& to) {
  std::error_code failed;
  fs::create_hard_link(from, to, failed);
  if (failed) fs::copy_file(from, to, fs::copy_options::overwrite_existing);
}

}  // namespace

RunConfig annealed_config(const CheckpointRef& trunk,
                          const TrainState& state,
                          const std::vector<std::string>& overrides,
                          Origins& origins) {
  const std::string origin = (trunk.folder / "config.toml").string();
  Origins ignored;
  const RunConfig stored = parse_config(state.config, origin, {}, ignored);
  RunConfig config = parse_config(state.config, origin, overrides, origins);
  for (const ConfigDifference& d : compare_configs(stored, config))
    if (d.frozen && std::find(kFree.begin(), kFree.end(), d.key) == kFree.end())
      fail_user(
          "--anneal-from goes on with the run as it was, so {} cannot change from {} to {}; "
          "schedule.cooldown_fraction says how long the rate falls, schedule.final_lr_fraction how "
          "far, and schedule.quantize to which grid",
          d.key, d.a, d.b);

  const RunConfig whole = resolved(stored);
  const Schedule before = schedule_of(whole, parameter_count(make_param_table(whole.model)));
  const int64_t done = trunk.step();
  const bool flat =
      before.decay == Schedule::Decay::wsd || before.decay == Schedule::Decay::constant;
  const int64_t plateau = before.steps - before.cooldown;
  if (!flat || done > plateau || done < before.warmup)
    fail_user(
        "{} is no place to branch off: its run has {} decay, warms up until step {} and "
        "keeps its rate until step {}; take a checkpoint of a wsd or constant run between "
        "these",
        trunk.folder.string(), stored.schedule.decay, before.warmup,
        flat ? plateau : before.warmup);
  const double fraction = config.schedule.cooldown_fraction;
  if (!(fraction > 0 && fraction < 1))
    fail_user("schedule.cooldown_fraction = {} leaves nothing to anneal; 0.1 to 0.3 is usual",
              fraction);
  const double length = static_cast<double>(done) / (1 - fraction);
  ScheduleConfig& s = config.schedule;
  s.tokens = s.tokens_per_parameter = 0;
  s.budget.clear();
  s.steps = std::max(done + 1, static_cast<int64_t>(std::llround(length)));
  s.decay = "wsd";
  s.warmup = fmt::format("{}steps", before.warmup);
  s.cooldown_fraction = static_cast<double>(s.steps - done) / static_cast<double>(s.steps);
  for (const char* key :
       {"schedule.steps", "schedule.decay", "schedule.warmup", "schedule.cooldown_fraction"})
    origins.of[key] = "--anneal-from";
  origins.notes.push_back(
      fmt::format("annealing from {}: steps {} to {}, rate falling to {} of "
                  "its peak as 1 - sqrt",
                  trunk.folder.string(), done + 1, s.steps, s.final_lr_fraction));
  return config;
}

fs::path run_folder_of(const CheckpointRef& checkpoint) {
  const fs::path folder = fs::weakly_canonical(checkpoint.folder);
  const fs::path run = folder.parent_path().parent_path();
  if (checkpoints_folder(run) != folder.parent_path())
    fail_user(
        "{} lies outside of its run; a branch takes the data from there: name "
        "RUN/checkpoints/step-N",
        checkpoint.folder.string());
  return run;
}

void share_data(const CheckpointRef& trunk, const fs::path& folder) {
  const fs::path run = run_folder_of(trunk);
  if (fs::exists(run / "tokenizer.json"))
    fs::copy_file(run / "tokenizer.json", folder / "tokenizer.json",
                  fs::copy_options::overwrite_existing);
  if (!fs::is_directory(run / "data")) return;
  fs::create_directories(folder / "data");
  for (const auto& entry : fs::directory_iterator(run / "data"))
    if (entry.is_regular_file())
      link_or_copy(entry.path(), folder / "data" / entry.path().filename());
}

}  // namespace isoflop
