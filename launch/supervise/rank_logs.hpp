// One log per rank, cut out of the one stream in which mpirun or srun sends the lines of all ranks:
//   LOGS/attempt-0002/rank-0003.log, and starter.log for what mpirun says itself
#pragma once
#include "core/file.hpp"

#include <deque>
#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace isoflop {

class RankLogs {
 public:
  static constexpr int kStarter = -1;  // mpirun or srun itself
  /// Called with every line of the first rank, as it was written.
  using Echo = std::function<void(bool error, const std::string& line)>;

  RankLogs(fs::path folder, Echo echo);

  /// A piece of the starter's standard output or error, cut anywhere.
  void feed(bool error, std::string_view piece);
  /// What was left without a line break.
  void finish();

  /// The last lines of a rank, or of kStarter.
  std::string tail(int rank) const;
  const fs::path& folder() const { return folder_; }
  static std::string name_of(int rank);

 private:
  struct Log {
    std::ofstream file;
    std::deque<std::string> tail;
  };
  void take(bool error, std::string_view line);
  void write(bool error, int rank, const std::string& line);

  fs::path folder_;
  Echo echo_;
  std::string pending_[2];
  std::map<int, std::string> unfinished_[2];  // by rank, the line of which more is to come
  std::map<int, Log> logs_;
};

/// "[1,3]<stderr>:text" (mpirun --tag-output) and " 3: text" (srun --label): rank and text;
/// kStarter and the line when it is neither.
std::pair<int, std::string_view> split_tag(std::string_view line);
/// Where mpirun's next tag begins in `text`, or npos: a line that a rank's pipe gave in pieces has
/// one before each, also in its middle, and pieces of other ranks between them.
size_t find_tag(std::string_view text);

}  // namespace isoflop
