// Saving without stopping: save() copies into memory set aside at the start and returns; one thread
// writes. At most one save is in flight.
//
// A checkpoint is made as checkpoints/.step-00001000.tmp, synced, given its manifest, and only then
// renamed; `checkpoints/latest` names it. Whatever kills us leaves either the new one or the ones
// before. Over several ranks each writes a file of its own rows at the same time; the first rank
// makes the rest once all shares are on the disk. A save that fails is tried again; then it warns,
// its leftovers are removed and the run goes on: finish() tells whether the last one arrived.
#pragma once
#include "core/file.hpp"
#include "core/param.hpp"
#include "ops/backend.hpp"
#include "parallel/communicator.hpp"
#include "parallel/sharding.hpp"
#include "pretrain/checkpoint/retention.hpp"
#include "pretrain/checkpoint/tensors.hpp"
#include "pretrain/checkpoint/train_state.hpp"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace isoflop {

struct SavedCheckpoint {
  int64_t step = 0;
  uint64_t bytes = 0;  // of all ranks
  double seconds = 0;  // from the copy in memory until it counts
};

struct CheckpointWriterOptions {
  fs::path run;
  Retention retention;
  std::string tokenizer;  // content of tokenizer.json; empty = none
  /// Called on the writer's thread when an attempt fails.
  std::function<void(const std::string&)> warn = [](const std::string&) {};
  /// Called on the first rank's writer's thread when a checkpoint counts.
  std::function<void(const SavedCheckpoint&)> saved = [](const SavedCheckpoint&) {};
  int attempts = 3;
  double retry_seconds = 1;       // between attempts
  Communicator* ranks = nullptr;  // that write together; null = one alone
  Backend* backend = nullptr;     // whose memory the tensors lie in; null = the host's
};

class CheckpointWriter {
 public:
  /// Creates RUN/checkpoints and removes what a killed run left there. The staging memory
  /// (staging_bytes) is touched here. UserError when the folder cannot be written. Collective, like
  /// all calls below.
  CheckpointWriter(CheckpointWriterOptions options, const ParamTable& table)
      : CheckpointWriter(std::move(options), table, Sharding(table)) {}
  CheckpointWriter(CheckpointWriterOptions options,
                   const ParamTable& table,
                   const Sharding& sharding);
  ~CheckpointWriter();  // waits for a save in flight
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  /// Waits for the save before, copies, returns. A checkpoint of the same step is replaced.
  void save(const TrainState& state,
            const ParamBuffer& parameters,
            const ParamBuffer& first_moments,
            const ParamBuffer& second_moments);

  /// Waits, then removes those of later steps than `step`: the run went back before them.
  void forget_after(int64_t step);

  /// Waits; true when the last save() is on disk (or none was asked for).
  bool finish();
  /// Why the last save failed; empty when it did not. Call after finish().
  const std::string& last_error() const { return last_error_; }

  /// For the memory plan; of the largest share.
  static size_t staging_bytes(const ParamTable& table, const Sharding& sharding) {
    return 2 * sharding.most_bytes(table, DType::f32) +
           sharding.most_second_moment_bytes(table, DType::f32);
  }
  static size_t staging_bytes(const ParamTable& table) {
    return staging_bytes(table, Sharding(table));
  }

 private:
  void copy(View from, View to, const char* what) const;
  void write_in_background();
  std::string try_to_write();  // why not, or empty
  /// Every rank does its part, or all of them fail with the reason of the first that could not.
  void together(const std::function<void()>& part);
  void on_root(const std::function<void()>& part);
  void write_once();
  /// Returns the bytes of all files.
  uint64_t fill(const fs::path& folder, std::vector<ManifestFile> shards);
  void prune(int64_t keep);

  CheckpointWriterOptions options_;
  ParamTable table_;
  Sharding sharding_;
  std::unique_ptr<Communicator> ranks_;  // a group of the writers' own
  fs::path folder_;                      // RUN/checkpoints
  TrainState state_;
  ParamBuffer parameters_, first_moments_, second_moments_;
  std::string last_error_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool busy_ = false;  // the staging memory belongs to the writer's thread
  bool closing_ = false;
  std::thread thread_;  // last: it uses everything above
};

}  // namespace isoflop
