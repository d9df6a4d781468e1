// Machines with several nodes of memory are made up here: files of /sys in a folder. Of the real
// one only what its system call answers is looked at.
#include "core/numa.hpp"

#include "core/buffer.hpp"
#include "tests/support/folder_test.hpp"

#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace isoflop {
namespace {

using Numbers = std::vector<int>;

class MemoryNodes : public FolderTest {
 protected:
  void node(int number, const std::string& cores) const {
    write("sys/devices/system/node/node" + std::to_string(number) + "/cpulist", cores + "\n");
  }
  void with_memory(const std::string& nodes) const {
    write("sys/devices/system/node/has_memory", nodes + "\n");
  }
  Numbers of(const Numbers& cores) const { return memory_nodes(cores, path("")); }
};

TEST_F(MemoryNodes, AreThoseOfTheCores) {
  with_memory("0-1,3");
  node(0, "0-3,16-19");
  node(1, "4-7,20-23");
  node(3, "8,10");
  EXPECT_EQ(of({0, 1, 2, 3}), Numbers({0}));
  EXPECT_EQ(of({19}), Numbers({0}));
  EXPECT_EQ(of({3, 4}), Numbers({0, 1}));
  EXPECT_EQ(of({10, 20}), Numbers({1, 3}));
  EXPECT_EQ(of({9, 15, 24}), Numbers());
}

TEST_F(MemoryNodes, CoresOrMemoryAloneDoNotCount) {
  with_memory("0,2");
  node(0, "0-3");
  node(1, "4-7");  // cores without memory
  node(2, "");     // memory without cores, as of a device
  EXPECT_EQ(of({0, 4}), Numbers({0}));
}

TEST_F(MemoryNodes, AreNoneWhereTheSystemDoesNotSay) {
  EXPECT_EQ(of({0, 1}), Numbers());
  with_memory("0-1");
  EXPECT_EQ(of({0, 1}), Numbers());
}

TEST(AllowedCores, AreTheAffinityMask) {
  cpu_set_t set;
  ASSERT_EQ(::sched_getaffinity(0, sizeof(set), &set), 0);
  const Numbers cores = allowed_cores();
  EXPECT_EQ(static_cast<int>(cores.size()), CPU_COUNT(&set));
  for (const int core : cores) EXPECT_TRUE(CPU_ISSET(core, &set));
}

/// The policy of the page at `address`; -1 where the system does not tell.
int policy_of(void* address) {
  int policy = -1;
  ::syscall(SYS_get_mempolicy, &policy, nullptr, 0ul, address, MPOL_F_ADDR);
  return policy;
}

TEST(InterleavePages, IsGrantedOrRefusedWithoutHarm) {
  const Buffer buffer = allocate_host(size_t{4} << 20, "a test");
  const Numbers nodes = memory_nodes(allowed_cores());
  if (interleave_pages(buffer.data(), size_t{4} << 20, nodes))
    EXPECT_EQ(policy_of(buffer.data()), MPOL_INTERLEAVE);
  else
    EXPECT_NE(policy_of(buffer.data()), MPOL_INTERLEAVE);
  for (size_t i = 0; i < buffer.bytes(); i += 4096) {
    ASSERT_EQ(buffer.data()[i], std::byte{0});
    buffer.data()[i] = std::byte{1};
  }
  EXPECT_FALSE(interleave_pages(buffer.data(), size_t{2} << 20, {}));
  EXPECT_FALSE(interleave_pages(buffer.data(), size_t{2} << 20, {1'000'000}));
}

TEST(InterleavePages, LeavesAPolicyOfTheProcessAlone) {
  const Buffer buffer = allocate_host(size_t{2} << 20, "a test");
  const Numbers nodes = memory_nodes(allowed_cores());
  const pid_t child = ::fork();
  if (child == 0) {
    if (nodes.empty() || nodes[0] > 63) ::_exit(0);
    const unsigned long first = 1ul << nodes[0];
    if (::syscall(SYS_set_mempolicy, MPOL_BIND, &first, 64ul) != 0) ::_exit(0);  // not allowed
    ::_exit(interleave_pages(buffer.data(), buffer.bytes(), nodes) ? 1 : 0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace isoflop
