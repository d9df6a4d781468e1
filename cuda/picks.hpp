// What was chosen by timing, by shape: kept for the run, written into its kernel plan, and followed
// where it was read from one. Keys and values are words without spaces.
#pragma once
#include <map>
#include <string>

namespace isoflop::gpu {

class Picks {
 public:
  /// Null when nothing has been chosen for `shape`.
  const std::string* find(const std::string& shape) const {
    const auto found = picks_.find(shape);
    return found == picks_.end() ? nullptr : &found->second;
  }
  void set(const std::string& shape, const std::string& algorithm) { picks_[shape] = algorithm; }
  /// "shape algorithm" a line, ordered.
  std::string text() const;
  /// Adds lines of text(). UserError when one is none.
  void read(const std::string& lines);

 private:
  std::map<std::string, std::string> picks_;
};

}  // namespace isoflop::gpu
