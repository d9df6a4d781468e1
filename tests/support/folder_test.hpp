// A fixture for tests that write files: each test has a folder of its own, removed afterwards.
#pragma once
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>

namespace isoflop {

class FolderTest : public testing::Test {
 protected:
  std::filesystem::path path(const std::string& name) const { return folder_.path() / name; }
  std::string write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories(path(name).parent_path());
    std::ofstream(path(name), std::ios::binary) << content;
    return path(name).string();
  }

 private:
  test::TempDir folder_;
};

/// Changes one byte of a file where it lies (rewriting the file each time makes some file systems
/// wait for the disk). Twice gives the file back.
inline void flip_byte(const std::filesystem::path& path, size_t at, uint8_t mask) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekg(static_cast<std::streamoff>(at));
  const auto byte = static_cast<uint8_t>(file.get());
  file.seekp(static_cast<std::streamoff>(at));
  file.put(static_cast<char>(byte ^ mask));
  if (!file) throw std::runtime_error("cannot change " + path.string());
}

/// The text of what `work` throws.
inline std::string message_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& e) {
    return e.what();
  }
  return "(nothing was thrown)";
}

}  // namespace isoflop
