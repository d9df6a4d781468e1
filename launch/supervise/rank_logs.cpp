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

size_t find_tag(std::string_view text) {
  for (size_t at = 0; (at = text.find('[', at)) != std::string_view::npos; ++at)
    if (split_tag(text.substr(at)).first != RankLogs::kStarter) return at;
  return std::string_view::npos;
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
  for (const bool error : {false, true})
    for (auto& [rank, line] : std::exchange(unfinished_[error], {})) write(error, rank, line);
}

void RankLogs::take(bool error, std::string_view line) {
  for (;;) {
    const auto [rank, text] = split_tag(line);
    const size_t next = find_tag(text);
    std::string& whole = unfinished_[error][rank].append(text.substr(0, next));
    if (next == std::string_view::npos) {
      const std::string done = std::move(whole);
      unfinished_[error].erase(rank);
      return write(error, rank, done);
    }
    line = text.substr(next);
  }
}

void RankLogs::write(bool error, int rank, const std::string& line) {
  Log& log = logs_[rank];
  if (!log.file.is_open()) log.file.open(folder_ / name_of(rank), std::ios::app);
  log.file << line << '\n' << std::flush;
  log.tail.push_back(line);
  if (log.tail.size() > kTailLines) log.tail.pop_front();
  if (rank == 0) echo_(error, line);
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
