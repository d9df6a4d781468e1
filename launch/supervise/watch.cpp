#include "launch/supervise/watch.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace isoflop {

namespace {

constexpr double kFading = 0.995;  // per beat: a long stay is forgotten after some minutes

double lower_median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

std::string list(const std::vector<int>& ranks, const std::vector<RankView>& views) {
  std::string text;
  for (size_t i = 0; i < ranks.size() && i < 4; ++i) {
    const int rank = ranks[i];
    text += (i ? "; " : "") + views[static_cast<size_t>(rank)].where(rank);
  }
  if (ranks.size() > 4) text += fmt::format("; and {} more", ranks.size() - 4);
  return text;
}

}  // namespace

std::string RankView::where(int rank) const {
  if (!met) return fmt::format("rank {}, which has not reported yet", rank);
  return fmt::format("rank {} on {}, step {} (in phase {} for {:.0f} s), last message {}: {}", rank,
                     host, last.step, last.phase, last.phase_seconds, last.messages,
                     last.last_message);
}

Watch::Watch(int ranks, double patience, double now)
    : patience_(patience), began_(now), ranks_(static_cast<size_t>(ranks)) {}

const RankView* Watch::view(int rank) const {
  const auto index = static_cast<size_t>(rank);
  return rank >= 0 && index < ranks_.size() ? &ranks_[index] : nullptr;
}

void Watch::hello(const Hello& hello, double now) {
  if (!view(hello.rank)) return;
  RankView& rank = ranks_[static_cast<size_t>(hello.rank)];
  rank.met = true;
  rank.host = hello.host;
  rank.pid = hello.pid;
  rank.heard = now;
}

void Watch::beat(int index, const Beat& beat, double now) {
  if (!view(index)) return;
  RankView& rank = ranks_[static_cast<size_t>(index)];
  rank.last = beat;
  rank.heard = now;
  if (beat.steps > 0) {
    const double mean = beat.work_seconds / static_cast<double>(beat.steps);
    const auto weight = static_cast<double>(std::min<int64_t>(beat.steps, 8)) / 16;
    rank.work_mean = rank.steps == 0 ? mean : rank.work_mean + weight * (mean - rank.work_mean);
    rank.steps += beat.steps;
  }
  for (auto& [phase, seconds] : longest_) seconds *= kFading;
  for (const auto& [phase, seconds] : beat.longest)
    longest_[phase] = std::max(longest_[phase], seconds);
}

void Watch::end(int index, const End& end) {
  if (view(index)) ranks_[static_cast<size_t>(index)].end = end;
}

void Watch::gone(int index, double now) {
  if (view(index)) ranks_[static_cast<size_t>(index)].gone = now;
}

bool Watch::nobody_met() const {
  return std::none_of(ranks_.begin(), ranks_.end(), [](const auto& r) { return r.met; });
}

bool Watch::all_met() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [](const auto& r) { return r.met; });
}

bool Watch::all_ended() const {
  return std::all_of(ranks_.begin(), ranks_.end(), [](const auto& r) { return r.end.has_value(); });
}

int64_t Watch::step() const {
  int64_t step = 0;
  for (const RankView& rank : ranks_) step = std::max(step, rank.last.step);
  return step;
}

std::optional<double> Watch::budget(const std::string& phase) const {
  if (phase == name_of(Phase::data)) return std::nullopt;
  const auto found = longest_.find(phase);
  // The first step after the start may do what later ones need not.
  if (found == longest_.end() || phase == name_of(Phase::startup)) return 10 * patience_;
  return std::max(patience_, 6 * found->second);
}

/// Of ranks that have been too long where they are: those that do not wait for anybody, else those
/// that are behind.
std::vector<int> Watch::culprits(const std::vector<int>& late) const {
  std::vector<int> busy, behind;
  uint64_t fewest = UINT64_MAX;
  for (const int rank : late) {
    const Beat& beat = view(rank)->last;
    if (beat.wait_seconds == 0) busy.push_back(rank);
    if (beat.messages < fewest) behind.clear();
    fewest = std::min(fewest, beat.messages);
    if (beat.messages == fewest) behind.push_back(rank);
  }
  return busy.empty() ? behind : busy;
}

std::optional<Trouble> Watch::judge(double now) const {
  std::vector<int> died, silent, late, missing;
  double first_death = std::numeric_limits<double>::infinity();
  for (int i = 0; i < static_cast<int>(ranks_.size()); ++i) {
    const RankView& rank = ranks_[static_cast<size_t>(i)];
    if (rank.end) continue;
    const std::optional<double> limit = budget(rank.last.phase);
    if (rank.gone) {
      if (*rank.gone < first_death) died.clear();
      first_death = std::min(first_death, *rank.gone);
      if (*rank.gone == first_death) died.push_back(i);
    } else if (!rank.met) {
      if (now - began_ > 10 * patience_) missing.push_back(i);
    } else if (now - rank.heard > patience_ / 2) {
      silent.push_back(i);
    } else if (limit && rank.last.phase_seconds > *limit) {
      late.push_back(i);
    }
  }
  using Kind = Trouble::Kind;
  if (!died.empty()) return Trouble{Kind::died, died, "died: " + list(died, ranks_)};
  if (!missing.empty())
    return Trouble{
        Kind::silent, missing,
        fmt::format("not started after {:.0f} s: {}", now - began_, list(missing, ranks_))};
  if (!silent.empty()) {
    const double since = now - view(silent.front())->heard;
    return Trouble{Kind::silent, silent,
                   fmt::format("nothing heard for {:.1f} s: {}", since, list(silent, ranks_))};
  }
  if (late.empty()) return std::nullopt;
  const std::vector<int> named = culprits(late);
  const Beat& beat = view(named.front())->last;
  return Trouble{Kind::stuck, named,
                 fmt::format("no progress within the {:.0f} s that phase {} may take: {}{}",
                             *budget(beat.phase), beat.phase, list(named, ranks_),
                             named.size() == ranks_.size() && ranks_.size() > 1
                                 ? "; all ranks wait for each other"
                                 : "")};
}

std::vector<SlowRank> Watch::slow() const {
  std::vector<double> means, deviations;
  for (const RankView& rank : ranks_) {
    if (rank.steps < 8) return {};
    means.push_back(rank.work_mean);
  }
  if (means.size() < 2) return {};
  const double median = lower_median(means);
  for (const double mean : means) deviations.push_back(std::abs(mean - median));
  // Few ranks agree too well by chance: at least a twentieth of the median.
  const double spread = std::max(1.4826 * lower_median(deviations), 0.05 * median);
  std::vector<SlowRank> slow;
  for (size_t i = 0; i < means.size(); ++i) {
    const double z = (means[i] - median) / spread;
    if (means[i] > 1.2 * median && z > 3)
      slow.push_back({static_cast<int>(i), means[i], median, z});
  }
  return slow;
}

}  // namespace isoflop
