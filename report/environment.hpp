// environment.json: what a result depended on besides its config.
#pragma once
#include "core/file.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace isoflop {

struct Environment {
  std::string version;  // of isoflop
  std::string compiler;
  std::string cpu;  // model name
  int cores = 0;    // that this process may use
  uint64_t memory_bytes = 0;
  std::string kernel;
  std::string host;
};

Environment detect_environment();

/// Writes RUN/environment.json; `backend` is the backend's description of itself, `threads` its
/// team.
void write_environment(const fs::path& run, std::string_view backend, int threads);

}  // namespace isoflop
