// The fuzzer's bytes as a file, for readers that open paths. Kept in memory where the system has
// such a folder.
#pragma once
#include "tests/support/temp_dir.hpp"

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace isoflop::fuzz {

/// Writes `bytes` to a file of that name, in a folder that lasts as long as the program.
inline std::string input_file(const std::string& name, std::string_view bytes) {
  static const test::TempDir folder(std::filesystem::is_directory("/dev/shm")
                                        ? std::filesystem::path("/dev/shm")
                                        : std::filesystem::temp_directory_path());
  const std::filesystem::path path = folder.path() / name;
  std::ofstream(path, std::ios::binary) << bytes;
  return path.string();
}

}  // namespace isoflop::fuzz
