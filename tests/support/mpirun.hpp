// The program under test as several ranks on this machine.
#pragma once
#include "tests/support/program.hpp"

#include <cstdlib>
#include <string>
#include <vector>

namespace isoflop::test {

/// Whether mpirun is here; the test should skip otherwise.
inline bool has_mpirun() {
  return std::system("command -v mpirun >/dev/null 2>&1") == 0;
}

/// As root, with more ranks than cores, beside other programs.
inline Program::Environment rank_environment() {
  return {{"OMPI_ALLOW_RUN_AS_ROOT", "1"},
          {"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"},
          {"OMPI_MCA_mpi_yield_when_idle", "1"},
          {"OMPI_MCA_hwloc_base_binding_policy", "none"},
          {"OMPI_MCA_rmaps_base_oversubscribe", "1"},
          {"ASAN_OPTIONS", "detect_leaks=0"}};  // Open MPI leaks at exit
}

/// `mpirun -n RANKS isoflop arguments...`, ended after two minutes.
inline Program::Words on_ranks(int ranks, const std::vector<std::string>& arguments) {
  Program::Words command{
      {"mpirun", "--timeout", "300", "-n", std::to_string(ranks), ISOFLOP_PROGRAM}};
  command.words.insert(command.words.end(), arguments.begin(), arguments.end());
  return command;
}

inline ProgramResult run_on_ranks(int ranks, const std::vector<std::string>& arguments) {
  return Program(on_ranks(ranks, arguments), rank_environment()).wait();
}

}  // namespace isoflop::test
