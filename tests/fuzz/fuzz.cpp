#include "tests/fuzz/fuzz.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <stdexcept>

namespace isoflop::fuzz {

static std::vector<Target>& registry() {
  static std::vector<Target> all;
  return all;
}

Registered::Registered(Target target) {
  const auto after = [](const Target& a, const Target& b) { return a.name < b.name; };
  registry().insert(std::ranges::upper_bound(registry(), target, after), std::move(target));
}

const std::vector<Target>& targets() {
  return registry();
}

bool accepts(const Target& target, std::string_view bytes) {
  try {
    target.run(bytes);
    return true;
  } catch (const Error& error) {
    const std::string_view message = error.what();
    if (message.find("fuzz") == message.npos)
      found("a message that does not name the input: " + std::string(message));
    return false;
  }
}

void found(const std::string& what) {
  throw std::logic_error("found: " + what);
}

}  // namespace isoflop::fuzz
