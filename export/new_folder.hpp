// A folder that appears whole or not at all: written under a temporary name beside its own.
#pragma once
#include "core/file.hpp"

namespace isoflop {

class NewFolder {
 public:
  /// UserError unless `out` is absent, an empty folder, or with `replace` one that holds nothing
  /// but what export_hf writes.
  NewFolder(fs::path out, bool replace);
  ~NewFolder();
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  const fs::path& path() const { return temporary_; }  // where to write
  void commit();

 private:
  fs::path out_, temporary_;
};

}  // namespace isoflop
