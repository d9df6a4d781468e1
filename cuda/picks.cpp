#include "cuda/picks.hpp"

#include "core/error.hpp"

#include <sstream>

namespace isoflop::gpu {

std::string Picks::text() const {
  std::string text;
  for (const auto& [shape, algorithm] : picks_) text += shape + " " + algorithm + "\n";
  return text;
}

void Picks::read(const std::string& lines) {
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    std::string shape, algorithm, more;
    if (!(words >> shape >> algorithm) || words >> more)
      fail_user("the kernel plan's choice \"{}\" is not a shape and an algorithm", line);
    set(shape, algorithm);
  }
}

}  // namespace isoflop::gpu
