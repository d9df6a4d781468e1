// What every command shares: where output goes, and how it is made.
//
// Standard output carries the answer: text for people, or with --json exactly one JSON object. What
// is said on the way goes to standard error, and --quiet silences it.
#pragma once
#include "core/error.hpp"

#include <nlohmann/json_fwd.hpp>

#include <string>
#include <string_view>

namespace isoflop {

/// The reader of our standard output has gone away (`isoflop ... | head`): no error, nothing to
/// say.
struct BrokenPipe {};

class Context {
 public:
  bool json = false;
  bool quiet = false;
  bool mute = false;  // one of several ranks, and not the one that speaks

  /// A remark on the way, one line: standard error, unless --quiet.
  template <class... Args>
  void note(fmt::format_string<Args...> text, Args&&... args) const {
    write_note(fmt::format(text, std::forward<Args>(args)...));
  }
  /// A line of the answer for people: standard output; under --json standard error, unless --quiet.
  template <class... Args>
  void print(fmt::format_string<Args...> text, Args&&... args) const {
    write_line(fmt::format(text, std::forward<Args>(args)...));
  }
  /// The answer as it is, without a line break added; may hold any bytes. Not under --json.
  void print_raw(std::string_view text) const;
  /// The answer as JSON, printed under --json only. Once per command.
  void result(const nlohmann::ordered_json& object) const;

 private:
  void write_note(const std::string& text) const;
  void write_line(const std::string& text) const;
};

/// Writes to standard output and flushes. BrokenPipe when the reader has gone, IoError when the
/// disk behind it is full.
void write_stdout(std::string_view text);
void write_stderr(std::string_view text);

/// Standard input to its end.
std::string read_stdin();

}  // namespace isoflop
