// What the supervisor knows of every rank, and the judgement: who died, who hangs, who is slow.
// Pure: time comes in as a number, so tests need not wait.
//
// A rank is silent when nothing was heard of it for half of `patience`. It is stuck when it has
// been in one phase of one step for longer than the phase's budget: six times the longest stay
// that any rank has finished lately, never less than `patience`; ten times `patience` while none
// has been finished. Preparing data has no budget: it may take hours, and only the first rank does
// it. When all wait for each other, whoever is not waiting, or has taken part in the fewest
// messages, is the one to name.
#pragma once
#include "launch/supervise/beat.hpp"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace isoflop {

struct RankView {
  bool met = false;
  std::optional<double> gone;  // when its connection ended
  std::optional<End> end;
  std::string host;
  int pid = 0;
  Beat last;
  double heard = 0;      // when
  double work_mean = 0;  // seconds a step, without waiting; a moving average
  int64_t steps = 0;     // that it stands for

  /// "rank 3 on n2, in step 120 (phase step for 61 s), last message 4711: exchange"
  std::string where(int rank) const;
};

struct Trouble {
  enum class Kind { died, silent, stuck } kind = Kind::died;
  std::vector<int> ranks;
  std::string text;  // names rank, host, phase, last message
};

struct SlowRank {
  int rank = 0;
  double seconds = 0, median = 0;  // a step
  double z = 0;                    // robust: distance from the median in scaled median deviations
};

class Watch {
 public:
  Watch(int ranks, double patience, double now);

  void hello(const Hello& hello, double now);
  void beat(int rank, const Beat& beat, double now);
  void end(int rank, const End& end);
  void gone(int rank, double now);

  /// The first thing that is wrong; none while all is well. Of ranks that died only the first: its
  /// starter ends the others.
  std::optional<Trouble> judge(double now) const;
  /// More than a fifth slower than the (lower) median and z > 3, of ranks with 8 steps or more.
  std::vector<SlowRank> slow() const;

  const std::vector<RankView>& ranks() const { return ranks_; }
  bool nobody_met() const;
  bool all_met() const;
  bool all_ended() const;
  int64_t step() const;  // the highest begun
  /// Seconds that a stay in the phase may take; none: no limit.
  std::optional<double> budget(const std::string& phase) const;

 private:
  const RankView* view(int rank) const;
  std::vector<int> culprits(const std::vector<int>& late) const;

  double patience_;
  double began_;
  std::vector<RankView> ranks_;
  std::map<std::string, double> longest_;  // finished stays, fading
};

}  // namespace isoflop
