// Hosts and how many ranks each takes, from the command line or a hostfile.
#pragma once
#include "core/file.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct Host {
  std::string name;
  int slots = 1;

  bool operator==(const Host&) const = default;
};

/// "a:8,b:8"; without a number one slot. UserError.
std::vector<Host> parse_hosts(std::string_view text);

/// Lines "a slots=8" (DeepSpeed, Open MPI; also "max_slots=", which is a limit of Open MPI's and
/// changes nothing here), "a:8" or "a"; '#' begins a comment. A host on several lines has the sum
/// of the slots, as in Open MPI. UserError names file and line.
std::vector<Host> read_hostfile(const fs::path& file);

int slots_of(const std::vector<Host>& hosts);
/// Of a rank, as slots are filled by mpirun and by ourselves: in order. Of those beyond the slots,
/// the last one.
const Host& host_of(const std::vector<Host>& hosts, int rank);
/// "a:8,b:8"
std::string hosts_text(const std::vector<Host>& hosts);
/// Ranks go on this machine without asking a remote shell.
bool is_this_machine(const std::string& name);

}  // namespace isoflop
