// Texts and models that some tests read and the repository does not carry.
//
// The folder is the environment variable ISOFLOP_SHARED, or `shared` beside the source tree; its
// data lies under `data`. A test that needs a file skips when it is absent:
//   const auto text = shared_data("books/alice.txt");
//   if (!text) GTEST_SKIP() << missing_shared_data("books/alice.txt");
#pragma once
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

namespace isoflop::test {

/// A file or folder under the shared data folder, if it is there.
inline std::optional<std::filesystem::path> shared_data(std::string_view relative) {
  const char* variable = std::getenv("ISOFLOP_SHARED");
  const std::filesystem::path root =
      variable && *variable ? std::filesystem::path(variable)
                            : std::filesystem::path(ISOFLOP_SOURCE_DIR) / ".." / "shared";
  const std::filesystem::path path = root / "data" / relative;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return std::nullopt;
  return path.lexically_normal();
}

inline std::string missing_shared_data(std::string_view relative) {
  return "shared data '" + std::string(relative) +
         "' is absent; set ISOFLOP_SHARED to the folder whose data/ holds it";
}

}  // namespace isoflop::test
