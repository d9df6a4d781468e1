// Which rank takes which GPU, and what is said when there are too few.
#include "launch/rank_devices.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace isoflop {
namespace {

/// A group as a rank of two hosts sees it: what it gathers was said by others before.
class Told final : public Communicator {
 public:
  Told(int rank, std::vector<int64_t>& said) : rank_(rank), said_(said) {}
  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(said_.size()); }
  Ticket start_exchange(std::span<const Message>, std::span<const Message>) override { return 0; }
  Ticket start_all_gather(const void* mine, void* all, size_t bytes) override {
    std::memcpy(&said_[static_cast<size_t>(rank_)], mine, bytes);
    std::memcpy(all, said_.data(), said_.size() * bytes);
    return 0;
  }
  Ticket start_broadcast(void*, size_t, int) override { return 0; }
  Ticket start_barrier() override { return 0; }
  bool done(Ticket) override { return true; }
  void wait(Ticket) override {}
  std::unique_ptr<Communicator> split(int, int) override { return make_self(); }
  WireTotals wire_totals() const override { return {}; }

 private:
  int rank_;
  std::vector<int64_t>& said_;
};

/// What rank `rank` of so many finds out, whose devices are `identities`.
RankDevices found_by(int rank, const std::vector<std::string>& identities, int devices) {
  std::vector<int64_t> said(identities.size());
  RankDevices found;
  for (int round = 0; round < 2; ++round)  // in the second all have spoken
    for (int r = 0; r < static_cast<int>(identities.size()); ++r) {
      Told group(r, said);
      gpu::DeviceReport report;
      report.devices = devices;
      report.identity = identities[static_cast<size_t>(r)];
      const RankDevices theirs = share_devices(group, report);
      if (r == rank) found = theirs;
    }
  return found;
}

TEST(RankDevices, RanksThatSeeTheSameOnesTakeThemInOrder) {
  const std::vector<std::string> ids = {"ab", "cd", "ab", "cd", "cd"};
  const RankDevices third = found_by(2, ids, 4), last = found_by(4, ids, 4);
  EXPECT_EQ(third.ranks, 2);
  EXPECT_EQ(third.place, 1);
  EXPECT_EQ(third.devices, 4);
  EXPECT_EQ(last.ranks, 3);
  EXPECT_EQ(last.place, 2);
  // As Slurm gives them out: each rank sees one of its own.
  const RankDevices own = found_by(1, {"a", "b", "c"}, 1);
  EXPECT_EQ(own.ranks, 1);
  EXPECT_EQ(own.place, 0);
}

TEST(RankDevices, MoreRanksThanDevicesAreRefusedWithBothNumbers) {
  try {
    take_device({.devices = 2, .ranks = 3, .place = 0});
    FAIL() << "took a device that another rank has";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("3 ranks of this host are to compute on 2 GPUs"),
              std::string::npos)
        << error.what();
  }
  EXPECT_NO_THROW(take_device({.devices = 0, .ranks = 3, .place = 0})) << "the backend says why";
}

TEST(RankDevices, RanksOnCpusNeedNoWire) {
  Machine machine(fp32_on(1));
  EXPECT_EQ(make_wire(machine, *make_self()), nullptr);
}

}  // namespace
}  // namespace isoflop
