#include "launch/supervise/rank_logs.hpp"

#include "core/error.hpp"

#include <charconv>
#include <utility>

namespace isoflop {

namespace {

constexpr size_t kTailLines = 20;

/// The number at the front of `text`, which is shortened by it; -1 when there is none.
int take_number(std::string_view& text) {
  int number = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0) return -1;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return number;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace

std::pair<int, std::string_view> split_tag(std::string_view line) {
  const std::pair<int, std::string_view> untagged = {RankLogs::kStarter, line};
  std::string_view text = line;
  if (take(text, "[")) {
    if (take_number(text) < 0 || !take(text, ",")) return untagged;
    const int rank = take_number(text);
    if (rank < 0 || !take(text, "]")) return untagged;
    if (!take(text, "<stderr>:") && !take(text, "<stdout>:")) return untagged;
    return {rank, text};
  }
  while (take(text, " ")) {
  }
  const int rank = take_number(text);
  if (rank < 0 || !take(text, ":")) return untagged;
  take(text, " ");
  return {rank, text};
}

RankLogs::RankLogs(fs::path folder, Echo echo)
    : folder_(std::move(folder)), echo_(std::move(echo)) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) fail_user("cannot create folder {}: {}", folder_.string(), error.message());
}

std::string RankLogs::name_of(int rank) {
  return rank == kStarter ? "starter.log" : fmt::format("rank-{:04}.log", rank);
}

void RankLogs::feed(bool error, std::string_view piece) {
  std::string& pending = pending_[error];
  pending += piece;
  size_t begin = 0;
  for (size_t end; (end = pending.find('\n', begin)) != std::string::npos; begin = end + 1)
    take(error, std::string_view(pending).substr(begin, end - begin));
  pending.erase(0, begin);
}

void RankLogs::finish() {
  for (const bool error : {false, true})
    if (!pending_[error].empty()) take(error, std::exchange(pending_[error], {}));
}

void RankLogs::take(bool error, std::string_view line) {
  const auto tagged = split_tag(line);
  Log& log = logs_[tagged.first];
  const std::string text(tagged.second);
  if (!log.file.is_open()) log.file.open(folder_ / name_of(tagged.first), std::ios::app);
  log.file << text << '\n' << std::flush;
  log.tail.push_back(text);
  if (log.tail.size() > kTailLines) log.tail.pop_front();
  if (tagged.first == 0) echo_(error, text);
}

std::string RankLogs::tail(int rank) const {
  const auto found = logs_.find(rank);
  std::string text;
  if (found == logs_.end()) return text;
  for (const std::string& line : found->second.tail)
    if (!line.empty()) text += "    " + line + "\n";
  return text;
}

}  // namespace isoflop
