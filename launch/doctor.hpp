// What is wrong with this machine: the checks behind `isoflop doctor`. Each looks at one thing and
// says what it found; none changes anything but a probe file in the output folder.
#pragma once
#include "core/file.hpp"
#include "cpu/gemm_bf16_amx.hpp"
#include "cuda/backend.hpp"
#include "launch/machine.hpp"

#include <string>
#include <vector>

namespace isoflop {

enum class Health {
  ok,
  note,     // slower or riskier than it could be
  problem,  // expect trouble
  fatal,    // no run can work here
};
const char* name_of(Health health);

struct Finding {
  std::string name;
  Health health = Health::ok;
  std::string text;    // what is there
  std::string advice;  // what to do; empty when ok
};

/// Where the system's own files are looked for: another root in tests.
struct SystemFiles {
  fs::path root = "/";

  /// The first line; empty when there is none.
  std::string line(const std::string& path) const;
  /// The value after "KEY:" or "KEY" in a file such as /proc/meminfo; empty when there is none.
  std::string value(const std::string& path, const std::string& key) const;
};

// --- doctor_machine.cpp
Finding check_cpu(const SystemFiles& files, const std::string& backend);
/// Which way of computing a run would take here, and why.
Finding check_compute(const ComputeChoice& choice, cpu::Amx amx);
/// `usable`: cores this process may run on.
Finding check_cores(const SystemFiles& files, int usable);
Finding check_memory(const SystemFiles& files);
/// Which nodes of memory (core/numa.hpp) `cores` belong to, and what that means for large buffers.
Finding check_memory_nodes(const SystemFiles& files, const std::vector<int>& cores);
Finding check_huge_pages(const SystemFiles& files);
Finding check_swap(const SystemFiles& files);
Finding check_governor(const SystemFiles& files);
Finding check_clock(const SystemFiles& files);
/// Watches for a third of a second who else computes.
Finding check_load(const SystemFiles& files, int usable);

// --- doctor_storage.cpp
/// Space, and how long a small file takes to be safe on disk.
Finding check_disk(const fs::path& out);
Finding check_limits();
Finding check_libraries();
/// Which driver this program needs and which is there; `driver_file` is the kernel's word on it.
Finding check_gpu(const gpu::DeviceReport& report, const std::string& driver_file);
Finding check_mpi();

std::vector<Finding> examine_machine(const SystemFiles& files,
                                     const fs::path& out,
                                     const Machine& machine);

}  // namespace isoflop
