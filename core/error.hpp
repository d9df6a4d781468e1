// Errors and what they mean to the caller's shell.
//
// Libraries throw; only launch/main.cpp catches, prints and maps to an exit code. The text says
// what went wrong, where, and what to do. CHECK is for our own bugs and never fires on user input.
#pragma once
#include <fmt/core.h>

#include <stdexcept>
#include <string>

namespace isoflop {

/// Exit codes of the program (docs/cli.md); scripts rely on them.
enum class ExitCode : int {
  kDone = 0,
  kBug = 1,       // our own bug; or `diff` found a difference
  kUser = 2,      // usage, config, an unusable file or folder named by the user, before work starts
  kGate = 3,      // a gate failed: coordinate check, certificate, a plan that cannot fit
  kDiverged = 4,  // training diverged
  kIo = 5,        // I/O, memory, a device or a rank failed later
  kStopped = 75,  // stopped on request after saving; may be continued
  kInterrupted = 130,
};

class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& text) : std::runtime_error(text), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// The user's input is wrong: config, flags, a file that cannot be used.
struct UserError : Error {
  explicit UserError(const std::string& text) : Error(ExitCode::kUser, text) {}
};
/// A file is damaged or hostile. The text names file, field and offset.
struct FormatError : UserError {
  using UserError::UserError;
};
struct GateError : Error {
  explicit GateError(const std::string& text) : Error(ExitCode::kGate, text) {}
};
struct DivergedError : Error {
  explicit DivergedError(const std::string& text) : Error(ExitCode::kDiverged, text) {}
};
/// Something outside failed after work had begun: disk, memory, device.
struct IoError : Error {
  explicit IoError(const std::string& text) : Error(ExitCode::kIo, text) {}
};

template <class... Args>
[[noreturn]] void fail_user(fmt::format_string<Args...> text, Args&&... args) {
  throw UserError(fmt::format(text, std::forward<Args>(args)...));
}
template <class... Args>
[[noreturn]] void fail_format(fmt::format_string<Args...> text, Args&&... args) {
  throw FormatError(fmt::format(text, std::forward<Args>(args)...));
}
template <class... Args>
[[noreturn]] void fail_io(fmt::format_string<Args...> text, Args&&... args) {
  throw IoError(fmt::format(text, std::forward<Args>(args)...));
}

namespace detail {
[[noreturn]] void check_failed(const char* condition,
                               const char* file,
                               int line,
                               const std::string& text);
}

/// Throws std::logic_error when one of our own invariants is broken.
#define ISOFLOP_CHECK(condition, ...)                                                            \
  do {                                                                                           \
    if (!(condition)) [[unlikely]]                                                               \
      ::isoflop::detail::check_failed(#condition, __FILE__, __LINE__, fmt::format(__VA_ARGS__)); \
  } while (false)

}  // namespace isoflop
