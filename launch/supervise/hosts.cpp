#include "launch/supervise/hosts.hpp"

#include "core/error.hpp"
#include "launch/supervise/sockets.hpp"

#include <algorithm>
#include <charconv>
#include <sstream>

namespace isoflop {

namespace {

constexpr int kMostSlots = 4096;

/// A name that is safe to hand to a remote shell: it is no option and needs no quoting.
void require_name(const std::string& name, const std::string& where) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
  };
  if (name.empty() || name.front() == '-' || !std::all_of(name.begin(), name.end(), good))
    fail_user("{}: \"{}\" is not a host name", where, name);
}

int parse_slots(std::string_view text, const std::string& where) {
  int slots = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), slots);
  if (error != std::errc() || end != text.data() + text.size() || slots < 1 || slots > kMostSlots)
    fail_user("{}: \"{}\" is not a number of slots (1 to {})", where, text, kMostSlots);
  return slots;
}

/// "a:8" or "a"
Host parse_host(const std::string& word, const std::string& where) {
  Host host;
  const size_t colon = word.find(':');
  host.name = word.substr(0, colon);
  require_name(host.name, where);
  if (colon != word.npos) host.slots = parse_slots(std::string_view(word).substr(colon + 1), where);
  return host;
}

void add(std::vector<Host>& hosts, const Host& host) {
  for (Host& known : hosts) {
    if (known.name != host.name) continue;
    known.slots += host.slots;
    return;
  }
  hosts.push_back(host);
}

}  // namespace

std::vector<Host> parse_hosts(std::string_view text) {
  std::vector<Host> hosts;
  std::istringstream words{std::string(text)};
  for (std::string word; std::getline(words, word, ',');) add(hosts, parse_host(word, "--hosts"));
  if (hosts.empty()) fail_user("--hosts names no host; write --hosts a:8,b:8");
  return hosts;
}

std::vector<Host> read_hostfile(const fs::path& file) {
  std::vector<Host> hosts;
  std::istringstream lines(read_file(file));
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    const std::string where = fmt::format("{}, line {}", file.string(), ++number);
    std::istringstream words(line.substr(0, line.find('#')));
    std::string word;
    if (!(words >> word)) continue;
    Host host = parse_host(word, where);
    while (words >> word) {
      if (word.rfind("slots=", 0) == 0)
        host.slots = parse_slots(std::string_view(word).substr(6), where);
      else if (word.rfind("max_slots=", 0) == 0 || word.rfind("max-slots=", 0) == 0)
        parse_slots(std::string_view(word).substr(10), where);
      else
        fail_user("{}: \"{}\" is not understood; write: HOST slots=8", where, word);
    }
    add(hosts, host);
  }
  if (hosts.empty()) fail_user("{} names no host", file.string());
  return hosts;
}

int slots_of(const std::vector<Host>& hosts) {
  int slots = 0;
  for (const Host& host : hosts) slots += host.slots;
  return slots;
}

const Host& host_of(const std::vector<Host>& hosts, int rank) {
  for (const Host& host : hosts) {
    if (rank < host.slots) return host;
    rank -= host.slots;
  }
  return hosts.back();
}

std::string hosts_text(const std::vector<Host>& hosts) {
  std::string text;
  for (const Host& host : hosts)
    text += fmt::format("{}{}:{}", text.empty() ? "" : ",", host.name, host.slots);
  return text;
}

bool is_this_machine(const std::string& name) {
  if (name == "localhost" || name == "127.0.0.1" || name == own_host_name()) return true;
  const std::vector<std::string> mine = own_addresses();
  return std::find(mine.begin(), mine.end(), name) != mine.end();
}

}  // namespace isoflop
