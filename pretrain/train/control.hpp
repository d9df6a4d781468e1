// Control files: requests to a running program by files in its run folder, for whoever cannot send
// signals to it. `stop`: finish the step, save, end with exit code 75. `save`: save now and go on.
// The request is taken by removing its file.
#pragma once
#include "core/file.hpp"

namespace isoflop {

class ControlFiles {
 public:
  explicit ControlFiles(const fs::path& run) : stop_(run / "stop"), save_(run / "save") {}

  /// True once for each time the file was made. One system call.
  bool take_stop() const;
  bool take_save() const;

 private:
  fs::path stop_, save_;
};

}  // namespace isoflop
