// manifest.json: the last file written into a checkpoint, and what makes it one. It lists every
// other file with its size and xxh3, and carries a hash of itself: "it opens" proves nothing about
// HDF5.
#pragma once
#include "core/file.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace isoflop {

struct ManifestFile {
  std::string name;  // within the folder
  uint64_t bytes = 0;
  uint64_t hash = 0;  // xxh3 of the content
};

struct Manifest {
  int64_t step = 0;
  int64_t sequence = 0;  // counts the saves of a run; the highest is the newest
  int64_t ranks = 1;     // files rank-0000.h5 ... that hold the tensors
  std::vector<ManifestFile> files;
};

inline constexpr const char* kManifestName = "manifest.json";

/// rank-0000.h5
std::string shard_name(int64_t rank);

/// Size and hash of FOLDER/NAME as it lies on disk. UserError when it cannot be read.
ManifestFile measure_file(const fs::path& folder, const std::string& name);

void write_manifest(const fs::path& folder, const Manifest& manifest);

/// FormatError when it is absent, damaged, newer than we read, or lacks a shard.
Manifest read_manifest(const fs::path& folder);
/// Its text; `file` stands for it in messages.
Manifest parse_manifest(const std::string& text, const std::string& file);

/// Reads every file; FormatError names the first one that is missing, short or changed.
void verify_files(const fs::path& folder, const Manifest& manifest);

}  // namespace isoflop
