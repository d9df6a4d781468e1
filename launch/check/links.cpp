#include "launch/check/links.hpp"

#include "core/rng.hpp"
#include "launch/bench_limits.hpp"

#include <chrono>
#include <cstring>

namespace isoflop {

namespace {

constexpr size_t kBytes = size_t{4} << 20;  // beyond what a link takes to get up to speed
constexpr int kPings = 21, kTransfers = 5;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Bytes that tell who sent them, and when.
void fill(std::vector<uint32_t>& words, int sender, int turn) {
  for (size_t i = 0; i < words.size(); i += 4) {
    const auto four = philox(static_cast<uint64_t>(sender), static_cast<uint64_t>(turn), i);
    std::copy(four.begin(), four.end(), words.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

class Pair {
 public:
  Pair(Communicator& ranks, int peer)
      : ranks_(ranks), peer_(peer), out_(kBytes / 4), in_(kBytes / 4), wanted_(kBytes / 4) {}

  LinkReport measure() {
    LinkReport link;
    link.a = std::min(ranks_.rank(), peer_);
    link.b = std::max(ranks_.rank(), peer_);
    std::vector<double> pings, transfers;
    for (int i = 0; i < kPings; ++i) pings.push_back(swap(4));
    for (int i = 0; i < kTransfers; ++i) {
      fill(out_, ranks_.rank(), i);
      fill(wanted_, peer_, i);
      swap(4);  // both are ready
      transfers.push_back(swap(kBytes));
      link.intact &= std::memcmp(in_.data(), wanted_.data(), kBytes) == 0;
    }
    link.latency = median(pings);
    link.bytes_per_s = static_cast<double>(kBytes) / median(transfers);
    return link;
  }

 private:
  double swap(size_t bytes) {
    const double start = now();
    const Message to[] = {{peer_, out_.data(), bytes}}, from[] = {{peer_, in_.data(), bytes}};
    ranks_.exchange(to, from);
    return now() - start;
  }

  Communicator& ranks_;
  int peer_;
  std::vector<uint32_t> out_, in_, wanted_;
};

}  // namespace

// The circle method: one stays, the others move on by one place a round.
std::vector<std::vector<std::pair<int, int>>> pair_rounds(int ranks) {
  std::vector<std::vector<std::pair<int, int>>> rounds;
  const int places = ranks + ranks % 2;
  for (int round = 0; round + 1 < places; ++round) {
    std::vector<std::pair<int, int>> pairs;
    const auto at = [&](int place) {
      return place == 0 ? 0 : 1 + (place - 1 + round) % (places - 1);
    };
    for (int place = 0; place < places / 2; ++place) {
      const int a = at(place), b = at(places - 1 - place);
      if (std::max(a, b) < ranks) pairs.push_back({std::min(a, b), std::max(a, b)});
    }
    if (ranks > kRanksOneByOne)
      rounds.push_back(pairs);
    else
      for (const auto& pair : pairs) rounds.push_back({pair});
  }
  return rounds;
}

std::vector<LinkReport> measure_links(Communicator& ranks) {
  std::vector<LinkReport> links;
  for (const auto& round : pair_rounds(ranks.size())) {
    LinkReport mine;
    for (const auto& [a, b] : round) {
      if (ranks.rank() != a && ranks.rank() != b) continue;
      mine = Pair(ranks, ranks.rank() == a ? b : a).measure();
    }
    // Also waits until the round is over.
    std::vector<LinkReport> all(static_cast<size_t>(ranks.size()));
    ranks.all_gather(&mine, all.data(), sizeof(mine));
    for (const auto& pair : round) {
      LinkReport link = all[static_cast<size_t>(pair.first)];
      const LinkReport& other = all[static_cast<size_t>(pair.second)];
      link.intact &= other.intact;
      link.latency = std::max(link.latency, other.latency);
      link.bytes_per_s = std::min(link.bytes_per_s, other.bytes_per_s);
      links.push_back(link);
    }
  }
  return links;
}

}  // namespace isoflop
