// Files: everything is written under a temporary name, synced and renamed, so that a reader sees
// the old file or the new one and never half of one, whatever kills us in between.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace isoflop {

namespace fs = std::filesystem;

/// Whole file; UserError when it cannot be read.
std::string read_file(const fs::path& path);

/// Write, fsync, rename, fsync of the folder. IoError on failure; the temporary file is removed.
void write_file_atomically(const fs::path& path, std::string_view content);

/// For writers that make the temporary file themselves (HDF5, GGUF): the name to write to, and the
/// step that makes it count. A leftover temporary file may be overwritten.
fs::path temporary_name(const fs::path& path);
void commit_file(const fs::path& temporary, const fs::path& path);
void sync_directory(const fs::path& directory);
void sync_path(const fs::path& file);
/// Has the system write to disk what was written so far, and does not wait: sync_path() has less to
/// do then. Nothing is promised.
void begin_sync(const fs::path& file);

/// Creates the folder and proves that it can be written to; UserError otherwise. Called before
/// work.
void require_writable_directory(const fs::path& directory);

/// Read-only mapping of a whole file. UserError when it cannot be opened.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const fs::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();
  const std::byte* data() const { return data_; }
  size_t size() const { return size_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  std::byte* data_ = nullptr;
  size_t size_ = 0;
};

/// Test hook. With ISOFLOP_FAULT="name:n" in the environment the n-th call with that name kills the
/// process (SIGKILL) on the spot, so that tests can cut power between any two system calls. Points:
/// write, fsync, rename.
void fault_point(std::string_view name);

}  // namespace isoflop
