// What every fuzz target shares. A target is one file NAME_fuzz.cpp with two functions:
//
//   LLVMFuzzerTestOneInput   feeds the bytes to a reader and uses what comes out; catches
//                            isoflop::Error only, so that a broken invariant, a crash, a hang or a
//                            leak is found
//   isoflop::fuzz::seeds     valid files to start from
//
// scripts/fuzz builds and runs them.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop::fuzz {

/// Valid inputs, small ones; `--seeds=FOLDER` on the command line writes them there and ends.
std::vector<std::string> seeds();

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Stops the fuzzer: `what` must not happen for any input.
[[noreturn]] void found(const std::string& what);

}  // namespace isoflop::fuzz
