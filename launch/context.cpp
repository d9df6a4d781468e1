#include "launch/context.hpp"

#include <nlohmann/json.hpp>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace isoflop {

namespace {

/// False with errno when the descriptor takes no more.
bool write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(descriptor, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

}  // namespace

void write_stdout(std::string_view text) {
  if (write_all(STDOUT_FILENO, text)) return;
  if (errno == EPIPE) throw BrokenPipe();
  fail_io("cannot write to standard output: {}", std::strerror(errno));
}

void write_stderr(std::string_view text) {
  // Nobody is left to be told when this fails.
  write_all(STDERR_FILENO, text);
}

std::string read_stdin() {
  std::string content;
  char chunk[1 << 16];
  while (true) {
    const ssize_t got = ::read(STDIN_FILENO, chunk, sizeof(chunk));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_user("cannot read standard input: {}", std::strerror(errno));
    if (got == 0) return content;
    content.append(chunk, static_cast<size_t>(got));
  }
}

void Context::write_note(const std::string& text) const {
  if (!quiet && !mute) write_stderr(text + "\n");
}

void Context::write_line(const std::string& text) const {
  if (json || mute) {
    write_note(text);
  } else {
    write_stdout(text + "\n");
  }
}

void Context::print_raw(std::string_view text) const {
  if (!json && !mute) write_stdout(text);
}

void Context::result(const nlohmann::ordered_json& object) const {
  if (!json || mute) return;
  // Text of models may be cut within a character: JSON gets U+FFFD there.
  using Json = nlohmann::ordered_json;
  write_stdout(object.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace isoflop
