#include "launch/rank_devices.hpp"

#include "core/hash.hpp"
#include "launch/supervise/sockets.hpp"
#include "parallel/nccl.hpp"

#include <algorithm>
#include <chrono>

namespace isoflop {

namespace {

constexpr auto kPatience = std::chrono::minutes(5);  // until all ranks have joined

}  // namespace

RankDevices share_devices(Communicator& ranks, const gpu::DeviceReport& report) {
  const auto mine = static_cast<int64_t>(hash_text(own_host_name() + "\n" + report.identity));
  const std::vector<int64_t> all = ranks.gather(mine);
  return {report.devices, static_cast<int>(std::count(all.begin(), all.end(), mine)),
          static_cast<int>(std::count(all.begin(), all.begin() + ranks.rank(), mine))};
}

void take_device(const RankDevices& devices) {
  if (devices.devices == 0) return;
  if (devices.ranks > devices.devices)
    fail_user(
        "{} ranks of this host are to compute on {} GPU{}, and each takes one for itself; start {} "
        "here, or set compute.device to cpu",
        devices.ranks, devices.devices, devices.devices == 1 ? "" : "s", devices.devices);
  require_nccl();
  gpu::use_device(devices.place);
}

std::unique_ptr<Communicator> make_wire(Machine& machine, Communicator& ranks) {
  if (!machine.choice.gpu || ranks.size() == 1) return nullptr;
  const std::string id = ranks.broadcast_text(ranks.is_root() ? nccl_group_id() : "", 0);
  return make_nccl(id, ranks.rank(), ranks.size(), kPatience, machine.backend->queue());
}

}  // namespace isoflop
