#include "parallel/shared_cores.hpp"

#include "core/hash.hpp"

#include <sched.h>
#include <unistd.h>

#include <algorithm>

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
  return static_cast<int>(std::count(all.begin(), all.end(), mine));
}

}  // namespace isoflop
