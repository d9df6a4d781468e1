#include "parallel/shared_cores.hpp"

#include "core/hash.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace isoflop {

int count_sharing_cores(Communicator& ranks) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  ::sched_getaffinity(0, sizeof(cores), &cores);
  char host[256] = {};
  ::gethostname(host, sizeof(host) - 1);
  const auto mine = static_cast<int64_t>(
      hash_text(std::string(reinterpret_cast<const char*>(&cores), sizeof(cores)) + host));
  const std::vector<int64_t> all = ranks.gather(mine);
  const auto same = static_cast<int>(std::count(all.begin(), all.end(), mine));
  // Containers on several hosts may go by one name; torchrun knows better.
  const char* const local = std::getenv("LOCAL_WORLD_SIZE");
  return local && std::atoi(local) > 0 ? std::min(same, std::atoi(local)) : same;
}

}  // namespace isoflop
