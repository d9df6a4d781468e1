#include "pretrain/checkpoint/checkpoint.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <tuple>

namespace isoflop {

namespace {

constexpr std::string_view kPrefix = "step-";
constexpr uint64_t kMaxTextBytes = 256 << 20;  // state.json with a long list of extras

std::optional<int64_t> step_of_name(const std::string& name) {
  if (name.rfind(kPrefix, 0) != 0) return std::nullopt;
  int64_t step = -1;
  const auto [end, error] =
      std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
  if (error != std::errc() || end != name.data() + name.size() || step < 0) return std::nullopt;
  return step;
}

std::string read_text(const fs::path& path) {
  std::error_code error;
  const uint64_t bytes = fs::file_size(path, error);
  if (error) fail_format("{} is missing", path.string());
  if (bytes > kMaxTextBytes) fail_format("{}: {} bytes are too many", path.string(), bytes);
  return read_file(path);
}

CheckpointRef verified(const fs::path& folder) {
  CheckpointRef checkpoint = {folder, read_manifest(folder)};
  verify_files(folder, checkpoint.manifest);
  return checkpoint;
}

}  // namespace

fs::path checkpoints_folder(const fs::path& run) {
  return run / "checkpoints";
}

std::string checkpoint_name(int64_t step) {
  return fmt::format("step-{:08d}", step);
}

std::vector<CheckpointEntry> list_checkpoints(const fs::path& run) {
  std::vector<CheckpointEntry> entries;
  std::error_code error;
  for (fs::directory_iterator it(checkpoints_folder(run), error), end; !error && it != end;
       it.increment(error)) {
    const std::optional<int64_t> step = step_of_name(it->path().filename().string());
    if (!step || !it->is_directory(error)) continue;
    CheckpointEntry entry = {it->path(), *step, std::nullopt};
    try {
      entry.manifest = read_manifest(entry.folder);
    } catch (const UserError&) {
      // Whoever wants to use it reads the manifest again and hears why.
    }
    entries.push_back(std::move(entry));
  }
  const auto age = [](const CheckpointEntry& entry) {
    return std::tuple(
        entry.manifest ? entry.manifest->sequence : std::numeric_limits<int64_t>::max(),
        entry.step);
  };
  std::sort(entries.begin(), entries.end(),
            [&](const CheckpointEntry& a, const CheckpointEntry& b) { return age(a) > age(b); });
  return entries;
}

std::optional<CheckpointRef> find_latest(const fs::path& run, std::vector<std::string>& warnings) {
  const size_t said_before = warnings.size();
  std::optional<CheckpointRef> found;
  for (const CheckpointEntry& entry : list_checkpoints(run)) {
    try {
      found = verified(entry.folder);
      break;
    } catch (const UserError& e) {
      warnings.push_back(
          fmt::format("checkpoint {} is damaged: {}", entry.folder.string(), e.what()));
    }
  }
  for (size_t i = said_before; i < warnings.size(); ++i)
    warnings[i] += found ? fmt::format("; using {}", found->folder.string())
                         : std::string("; there is no other to use");
  return found;
}

std::optional<CheckpointRef> find_newest_up_to(const fs::path& run, int64_t step) {
  std::vector<CheckpointEntry> entries = list_checkpoints(run);
  std::stable_sort(
      entries.begin(), entries.end(),
      [](const CheckpointEntry& a, const CheckpointEntry& b) { return a.step > b.step; });
  for (const CheckpointEntry& entry : entries) {
    if (!entry.manifest || entry.manifest->step != entry.step || entry.step > step) continue;
    try {
      return verified(entry.folder);
    } catch (const UserError&) {
      // damaged: an older one will do
    }
  }
  return std::nullopt;
}

CheckpointRef open_checkpoint(const fs::path& path, std::vector<std::string>& warnings) {
  std::error_code error;
  if (!fs::is_directory(path, error))
    fail_user("{} is not a checkpoint: no such folder", path.string());
  if (fs::is_directory(checkpoints_folder(path), error)) {
    const std::vector<std::string> before = warnings;
    std::optional<CheckpointRef> found = find_latest(path, warnings);
    if (found) return *std::move(found);
    if (warnings.size() > before.size()) fail_format("{}", warnings.back());
    fail_user(
        "run {} has no checkpoint yet; a first one is saved with checkpoint.every, or by a file "
        "named 'save' in the run folder",
        path.string());
  }
  if (!fs::exists(path / kManifestName, error) && !step_of_name(path.filename().string()))
    fail_user(
        "{} is neither a checkpoint nor a run folder with checkpoints, nor a Hugging Face folder "
        "with its config.json",
        path.string());
  return verified(path);
}

TrainState load_state(const CheckpointRef& checkpoint) {
  const fs::path path = checkpoint.folder / "state.json";
  TrainState state = parse_train_state(read_text(path), path.string());
  if (state.step != checkpoint.step())
    fail_format("{}: 'step' is {}, the manifest says {}", path.string(), state.step,
                checkpoint.step());
  state.config = read_text(checkpoint.folder / "config.toml");
  return state;
}

TrainState load_checkpoint(const CheckpointRef& checkpoint,
                           const ParamTable& table,
                           const CheckpointTensors& into) {
  return load_checkpoint(checkpoint, table, into, Sharding(table));
}

TrainState load_checkpoint(const CheckpointRef& checkpoint,
                           const ParamTable& table,
                           const CheckpointTensors& into,
                           const Sharding& moments) {
  TrainState state = load_state(checkpoint);
  read_tensors(checkpoint.folder, checkpoint.manifest, table, into, moments);
  return state;
}

}  // namespace isoflop
