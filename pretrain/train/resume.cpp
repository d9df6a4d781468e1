#include "pretrain/train/resume.hpp"

#include "core/error.hpp"
#include "pretrain/config/dump.hpp"

#include <fmt/format.h>

namespace isoflop {

bool holds_run(const fs::path& folder) {
  return fs::exists(folder / "config.toml") || fs::exists(folder / "checkpoints") ||
         fs::exists(folder / "metrics.jsonl");
}

void require_same_run(const RunConfig& stored, const RunConfig& now) {
  std::string list;
  for (const ConfigDifference& difference : compare_configs(stored, now))
    if (difference.frozen)
      list +=
          fmt::format("\n  {}: the run has {}, now {}", difference.key, difference.a, difference.b);
  if (!list.empty())
    fail_user(
        "the run cannot go on with another config:{}\nput the old values back, or start a new run "
        "with "
        "another --out",
        list);
}

}  // namespace isoflop
