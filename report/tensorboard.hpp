// TensorBoard event files: RUN/tb/events.out.tfevents.<unix time>.<host>.
//
// TFRecord frames around protobuf messages (tensorboard.proto). Every call is one write, so a
// viewer following the file sees whole records. Like metrics, a lost record must not end a run: the
// calls answer false when the disk refused, the caller warns.
#pragma once
#include "report/metrics.hpp"

#include <cstdint>
#include <span>
#include <string_view>

namespace isoflop {

class TensorBoardWriter {
 public:
  /// Creates `directory` and a new file in it, for a run that goes on from `step` (0: a new run).
  /// Points of later steps, written before an earlier part of the run was cut off, disappear from
  /// the viewer. UserError when the file cannot be made.
  explicit TensorBoardWriter(const fs::path& directory, int64_t step = 0);
  ~TensorBoardWriter();
  TensorBoardWriter(const TensorBoardWriter&) = delete;
  TensorBoardWriter& operator=(const TensorBoardWriter&) = delete;

  bool scalars(int64_t step, std::span<const Metric> metrics);
  bool text(int64_t step, std::string_view tag, std::string_view markdown);

 private:
  bool write_record(std::string_view payload);

  int fd_ = -1;
};

}  // namespace isoflop
