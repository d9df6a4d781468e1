#include "core/file.hpp"

#include "core/error.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace isoflop {

namespace {

struct FileDescriptor {
  int fd = -1;
  ~FileDescriptor() {
    if (fd >= 0) ::close(fd);
  }
};

std::string reason() {
  return std::strerror(errno);
}

}  // namespace

void fault_point(std::string_view name) {
  const char* const wanted = std::getenv("ISOFLOP_FAULT");  // not cached: a forked child may set it
  if (!wanted) return;
  const std::string_view text = wanted;
  const size_t colon = text.find(':');
  if (colon == text.npos || text.substr(0, colon) != name) return;
  static std::atomic<long> left{std::atol(wanted + colon + 1)};
  if (left.fetch_sub(1) == 1) ::kill(::getpid(), SIGKILL);
}

std::string read_file(const fs::path& path) {
  FileDescriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) fail_user("cannot read {}: {}", path.string(), reason());
  std::string content;
  char chunk[1 << 16];
  while (true) {
    const ssize_t got = ::read(file.fd, chunk, sizeof(chunk));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_user("cannot read {}: {}", path.string(), reason());
    if (got == 0) return content;
    content.append(chunk, static_cast<size_t>(got));
  }
}

fs::path temporary_name(const fs::path& path) {
  return path.parent_path() / ("." + path.filename().string() + ".tmp");
}

void sync_path(const fs::path& path) {
  fault_point("fsync");
  FileDescriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0 || ::fsync(file.fd) != 0)
    fail_io("cannot sync {} to disk: {}", path.string(), reason());
}

void begin_sync(const fs::path& path) {
  const FileDescriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd >= 0) ::sync_file_range(file.fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

void sync_directory(const fs::path& directory) {
  sync_path(directory.empty() ? fs::path(".") : directory);
}

void commit_file(const fs::path& temporary, const fs::path& path) {
  sync_path(temporary);
  fault_point("rename");
  if (::rename(temporary.c_str(), path.c_str()) != 0)
    fail_io("cannot rename {} to {}: {}", temporary.string(), path.string(), reason());
  fault_point("rename");
  sync_directory(path.parent_path());
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  const fs::path temporary = temporary_name(path);
  try {
    FileDescriptor file{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)};
    if (file.fd < 0) fail_io("cannot create {}: {}", temporary.string(), reason());
    while (!content.empty()) {
      fault_point("write");
      // Small pieces only so that a fault point can fall inside a large file.
      const ssize_t wrote =
          ::write(file.fd, content.data(), std::min<size_t>(content.size(), 1 << 20));
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) fail_io("cannot write {}: {}", temporary.string(), reason());
      content.remove_prefix(static_cast<size_t>(wrote));
    }
    commit_file(temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

void require_writable_directory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  if (error)
    fail_user("cannot create folder {}: {}; choose another with --out", directory.string(),
              error.message());
  const fs::path probe = directory / ".isoflop-write-test";
  try {
    // 64 KB, so that a full disk is noticed now and not after an hour.
    write_file_atomically(probe, std::string(1 << 16, 'x'));
  } catch (const IoError& e) {
    fail_user("cannot write to folder {} ({}); free some space or choose another with --out",
              directory.string(), e.what());
  }
  fs::remove(probe, error);
}

MappedFile::MappedFile(const fs::path& path) {
  FileDescriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat info = {};
  if (file.fd < 0 || ::fstat(file.fd, &info) != 0)
    fail_user("cannot read {}: {}", path.string(), reason());
  if (!S_ISREG(info.st_mode)) fail_user("cannot read {}: not a regular file", path.string());
  size_ = static_cast<size_t>(info.st_size);
  if (size_ == 0) return;
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (data == MAP_FAILED) fail_user("cannot map {}: {}", path.string(), reason());
  data_ = static_cast<std::byte*>(data);
}

MappedFile::MappedFile(MappedFile&& other) noexcept {
  *this = std::move(other);
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(data_, size_);
}

}  // namespace isoflop
