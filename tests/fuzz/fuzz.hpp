// What every fuzz target shares. A target is one file NAME_fuzz.cpp that registers
//
//   seeds    valid inputs, small ones, to start from
//   run      feeds the bytes to a reader under the name "fuzz" and uses what comes out. It may
//            throw isoflop::Error, whose message must name the input; anything else is a finding,
//            and so is a crash, a hang, a leak or a broken invariant (found)
//   refused  inputs that are valid but for one thing deep inside, where damage seldom hits
//
// Two programs hold them all: the fuzzer (scripts/fuzz, clang's libFuzzer) and the test program
// test_fuzz, which runs each target on thousands of damaged seeds with any compiler.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop::fuzz {

struct Target {
  std::string_view name;
  std::vector<std::string> (*seeds)();
  void (*run)(std::string_view bytes);
  /// The reader's own files, whose lines scripts/fuzz --coverage counts.
  std::vector<std::string_view> sources;
  std::vector<std::string> (*refused)() = nullptr;
};

/// All of them, by name.
const std::vector<Target>& targets();

/// A static object of this type adds a target.
struct Registered {
  explicit Registered(Target target);
};

/// Runs a target on one input; true when it was accepted, false when it was refused with a message
/// that names it.
bool accepts(const Target& target, std::string_view bytes);

/// Throws what no target catches: `what` must not happen for any input.
[[noreturn]] void found(const std::string& what);

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

}  // namespace isoflop::fuzz
