#include "core/numa.hpp"

#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <fstream>
#include <string>

namespace isoflop {

namespace {

/// The numbers of a list such as "0-3,8,10-11", as the kernel writes them.
std::vector<int> read_list(const fs::path& path) {
  std::ifstream file(path);
  std::vector<int> numbers;
  for (int first = 0; file >> first; file.ignore()) {  // the comma
    int last = first;
    if (file.peek() == '-') file.ignore() >> last;
    for (int number = first; number <= last; ++number) numbers.push_back(number);
  }
  return numbers;
}

}  // namespace

std::vector<int> allowed_cores() {
  std::vector<int> cores;
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core)
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  return cores;
}

std::vector<int> memory_nodes(const std::vector<int>& cores, const fs::path& root) {
  const fs::path folder = root / "sys/devices/system/node";
  std::vector<int> nodes = read_list(folder / "has_memory");
  std::erase_if(nodes, [&](int node) {
    const std::vector<int> own = read_list(folder / ("node" + std::to_string(node)) / "cpulist");
    return std::find_first_of(own.begin(), own.end(), cores.begin(), cores.end()) == own.end();
  });
  return nodes;
}

bool interleave_pages(void* data, size_t bytes, const std::vector<int>& nodes) {
  int policy = MPOL_DEFAULT;  // the process's; a refusal to say is no policy
  ::syscall(SYS_get_mempolicy, &policy, nullptr, 0ul, nullptr, 0ul);
  if (policy != MPOL_DEFAULT || nodes.empty()) return false;
  constexpr int kBits = sizeof(unsigned long) * CHAR_BIT;
  const int most = *std::max_element(nodes.begin(), nodes.end());
  std::vector<unsigned long> mask(static_cast<size_t>(most / kBits + 1));
  for (const int node : nodes) mask[static_cast<size_t>(node / kBits)] |= 1ul << (node % kBits);
  // The kernel looks at one bit less than it is told of.
  return ::syscall(SYS_mbind, data, bytes, MPOL_INTERLEAVE, mask.data(), mask.size() * kBits + 1,
                   0u) == 0;
}

}  // namespace isoflop
