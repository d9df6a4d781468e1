#include "launch/config_arguments.hpp"

#include "core/error.hpp"

namespace isoflop {

namespace {

bool is_run_file(const std::string& word) {
  return std::filesystem::path(word).extension() == ".toml";
}

}  // namespace

bool is_assignment(const std::string& word) {
  const size_t equals = word.find('=');
  if (equals == word.npos || equals == 0) return false;
  for (const char c : word.substr(0, equals)) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!letter && !(c >= '0' && c <= '9') && c != '_' && c != '.') return false;
  }
  return true;
}

std::optional<std::filesystem::path> ConfigArguments::file() const {
  std::optional<std::filesystem::path> found;
  for (const std::string& word : words) {
    if (is_assignment(word) || !is_run_file(word)) continue;
    if (found)
      fail_user("{} and {}: a run has one file; give changes as key=value", found->string(), word);
    found = word;
  }
  return found;
}

std::vector<std::string> ConfigArguments::overrides() const {
  std::vector<std::string> assignments;
  if (!preset.empty()) assignments.push_back("model.preset=" + preset);
  for (const std::string& word : words) {
    if (is_assignment(word)) assignments.push_back(word);
  }
  return assignments;
}

std::vector<std::string> ConfigArguments::others() const {
  std::vector<std::string> rest;
  for (const std::string& word : words) {
    if (!is_assignment(word) && !is_run_file(word)) rest.push_back(word);
  }
  return rest;
}

}  // namespace isoflop
