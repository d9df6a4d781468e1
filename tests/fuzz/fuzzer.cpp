// The targets as a libFuzzer program. Besides libFuzzer's own flags:
//
//   --list                            names of the targets, each with its reader's files
//   --target=NAME                     which one to run
//   --target=NAME --seeds=FOLDER      write what it starts from there and end
#include "core/file.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <cstdio>
#include <cstdlib>

namespace isoflop::fuzz {

static const Target* chosen = nullptr;

static void choose(std::string_view name) {
  for (const Target& target : targets())
    if (target.name == name) chosen = &target;
  if (chosen) return;
  std::fprintf(stderr, "no fuzz target is called '%s'\n", std::string(name).c_str());
  std::exit(2);
}

static void list() {
  for (const Target& target : targets()) {
    std::printf("%s", std::string(target.name).c_str());
    for (const std::string_view source : target.sources)
      std::printf(" %s", std::string(source).c_str());
    std::printf("\n");
  }
}

static void write_seeds(const fs::path& folder) {
  fs::create_directories(folder);
  std::vector<std::string> inputs = chosen->seeds();
  if (chosen->refused)
    for (std::string& input : chosen->refused()) inputs.push_back(std::move(input));
  for (size_t i = 0; i < inputs.size(); ++i)
    write_file_atomically(folder / ("seed-" + std::to_string(i)), inputs[i]);
}

}  // namespace isoflop::fuzz

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  using namespace isoflop::fuzz;
  const auto value_of = [](std::string_view argument, std::string_view flag) {
    return argument.starts_with(flag) ? argument.substr(flag.size()) : std::string_view();
  };
  std::string_view seeds;
  for (int i = 1; i < *argc; ++i) {
    const std::string_view argument = (*argv)[i];
    if (argument == "--list") {
      list();
      std::exit(0);
    }
    if (const auto name = value_of(argument, "--target="); !name.empty()) choose(name);
    if (const auto folder = value_of(argument, "--seeds="); !folder.empty()) seeds = folder;
  }
  if (!chosen) {
    std::fprintf(stderr, "name a --target (see --list)\n");
    std::exit(2);
  }
  if (!seeds.empty()) {
    write_seeds(seeds);
    std::exit(0);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  isoflop::fuzz::accepts(*isoflop::fuzz::chosen, {reinterpret_cast<const char*>(data), size});
  return 0;
}
