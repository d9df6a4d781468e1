// Runs the program as a shell would and keeps what it said.
#pragma once
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace isoflop::test {

struct Outcome {
  int code = -1;    // exit code; 128 + signal when killed
  std::string out;  // standard output
  std::string err;  // standard error
};

inline std::string slurp(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// `arguments` as typed in a shell, in the folder `at`; `input` is the standard input.
inline Outcome run_program(const std::string& arguments,
                           const std::filesystem::path& at = ".",
                           const std::string& input = "") {
  const TempDir folder;
  const std::string out = (folder.path() / "out").string();
  const std::string err = (folder.path() / "err").string();
  const std::string in = (folder.path() / "in").string();
  std::ofstream(in, std::ios::binary) << input;
  const std::string command = "cd '" + at.string() + "' && '" ISOFLOP_PROGRAM "' " + arguments +
                              " <'" + in + "' >'" + out + "' 2>'" + err + "'";
  const int status = std::system(command.c_str());
  Outcome outcome;
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = slurp(out);
  outcome.err = slurp(err);
  return outcome;
}

}  // namespace isoflop::test
