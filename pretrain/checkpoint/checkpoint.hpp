// Reading checkpoints: RUN/checkpoints/step-00001000/ with
//   rank-0000.h5    tensors (tensors.hpp)         state.json      TrainState
//   checkpoint.h5   all of them, whole, as one    config.toml     resolved config
//   tokenizer.json  when the run has one          manifest.json   written last (manifest.hpp)
// A folder counts only when its manifest is in place and every file is what the manifest says. The
// ref below is the proof of that: the functions that take one do not hash again.
#pragma once
#include "core/file.hpp"
#include "core/param.hpp"
#include "pretrain/checkpoint/manifest.hpp"
#include "pretrain/checkpoint/tensors.hpp"
#include "pretrain/checkpoint/train_state.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace isoflop {

struct CheckpointRef {
  fs::path folder;
  Manifest manifest;

  int64_t step() const { return manifest.step; }
  fs::path tokenizer() const { return folder / "tokenizer.json"; }  // may be absent
};

/// The newest checkpoint of a run that verifies; none when there is none. A damaged one is passed
/// over with a line in `warnings` that names it, what is wrong, and what is used instead.
std::optional<CheckpointRef> find_latest(const fs::path& run, std::vector<std::string>& warnings);

/// The good one of the highest step up to `step`.
std::optional<CheckpointRef> find_newest_up_to(const fs::path& run, int64_t step);

/// `path` is a checkpoint folder, which must verify (FormatError names the file and what is wrong),
/// or a run folder, whose newest good checkpoint is taken as by find_latest (UserError without
/// any).
CheckpointRef open_checkpoint(const fs::path& path, std::vector<std::string>& warnings);

/// State and config text, without tensors: enough for eval and generate to build the model.
TrainState load_state(const CheckpointRef& checkpoint);

/// State and tensors. The buffers are shaped by `table` and hold f32; a null moment is not read.
TrainState load_checkpoint(const CheckpointRef& checkpoint,
                           const ParamTable& table,
                           const CheckpointTensors& into);
/// Of the moments the share of one rank.
TrainState load_checkpoint(const CheckpointRef& checkpoint,
                           const ParamTable& table,
                           const CheckpointTensors& into,
                           const Sharding& moments);

// Names, for the writer and for tools.
fs::path checkpoints_folder(const fs::path& run);
std::string checkpoint_name(int64_t step);  // step-00001000

struct CheckpointEntry {
  fs::path folder;
  int64_t step = 0;
  std::optional<Manifest> manifest;  // none when it cannot be read
};
/// Every step-* folder of a run, newest first (by the manifests' count of saves); the ones without
/// a readable manifest come first. Files are not verified.
std::vector<CheckpointEntry> list_checkpoints(const fs::path& run);

}  // namespace isoflop
