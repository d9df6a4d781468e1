#include "tests/fuzz/fuzz.hpp"

#include "core/file.hpp"

#include <cstdio>
#include <cstdlib>

namespace isoflop::fuzz {

void found(const std::string& what) {
  std::fprintf(stderr, "found: %s\n", what.c_str());
  std::abort();
}

}  // namespace isoflop::fuzz

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  constexpr std::string_view kFlag = "--seeds=";
  for (int i = 1; i < *argc; ++i) {
    const std::string_view argument = (*argv)[i];
    if (argument.substr(0, kFlag.size()) != kFlag) continue;
    const isoflop::fs::path folder = argument.substr(kFlag.size());
    isoflop::fs::create_directories(folder);
    int number = 0;
    for (const std::string& seed : isoflop::fuzz::seeds())
      isoflop::write_file_atomically(folder / ("seed-" + std::to_string(number++)), seed);
    std::exit(0);
  }
  return 0;
}
