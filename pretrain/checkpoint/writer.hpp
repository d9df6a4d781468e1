// Saving without stopping: save() copies into memory set aside at the start and returns; one thread
// writes. At most one save is in flight.
//
// A checkpoint is made as checkpoints/.step-00001000.tmp, synced, given its manifest, and only then
// renamed; `checkpoints/latest` names it. Whatever kills us leaves either the new one or the ones
// before. A save that fails is tried again; then it warns, its leftovers are removed and the run
// goes on: finish() tells whether the last one arrived.
#pragma once
#include "core/file.hpp"
#include "core/param.hpp"
#include "pretrain/checkpoint/retention.hpp"
#include "pretrain/checkpoint/tensors.hpp"
#include "pretrain/checkpoint/train_state.hpp"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace isoflop {

struct CheckpointWriterOptions {
  fs::path run;
  Retention retention;
  std::string tokenizer;  // content of tokenizer.json; empty = none
  /// Called on the writer's thread when an attempt fails.
  std::function<void(const std::string&)> warn = [](const std::string&) {};
  int attempts = 3;
  double retry_seconds = 1;  // between attempts
};

class CheckpointWriter {
 public:
  /// Creates RUN/checkpoints and removes what a killed run left there. The staging memory
  /// (staging_bytes) is touched here. UserError when the folder cannot be written.
  CheckpointWriter(CheckpointWriterOptions options, const ParamTable& table);
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

  static size_t staging_bytes(const ParamTable& table);  // for the memory plan

 private:
  void write_in_background();
  std::string try_to_write();  // why not, or empty
  void write_once();
  void fill(const fs::path& folder, int64_t sequence);
  void prune(int64_t keep);

  CheckpointWriterOptions options_;
  ParamTable table_;
  fs::path folder_;  // RUN/checkpoints
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
