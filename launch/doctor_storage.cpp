#include "core/error.hpp"
#include "core/numa.hpp"
#include "launch/doctor.hpp"
#include "launch/supervise/child.hpp"
#include "parallel/nccl.hpp"
#include "report/environment.hpp"
#include "report/humanize.hpp"

#include <fmt/format.h>
#include <hdf5.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>

namespace isoflop {

namespace {

constexpr double kScarce = 1e9;    // bytes of disk: a few checkpoints of a small model
constexpr double kTooFew = 64e6;   // not even one
constexpr double kSlowSync = 0.5;  // seconds for 4 MB

/// Seconds until 4 MB are safe on disk.
double time_of_sync(const fs::path& folder) {
  const fs::path probe = folder / ".isoflop-doctor";
  const std::string content(4 << 20, 'x');
  const auto start = std::chrono::steady_clock::now();
  write_file_atomically(probe, content);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  std::error_code ignored;
  fs::remove(probe, ignored);
  return took.count();
}

rlim_t soft_limit(int which) {
  struct rlimit limit = {};
  ::getrlimit(static_cast<__rlimit_resource>(which), &limit);
  return limit.rlim_cur;
}

std::string limit_text(rlim_t limit) {
  return limit == RLIM_INFINITY ? "no limit" : fmt::format("{}", limit);
}

}  // namespace

Finding check_disk(const fs::path& out) {
  const std::string name = fmt::format("disk of {}", out.string());
  try {
    const double free = static_cast<double>(fs::space(out).available);
    const double seconds = time_of_sync(out);
    Finding finding = {
        name, Health::ok,
        fmt::format("{} free, 4M are safe after {}", human_bytes(free), human_duration(seconds)),
        ""};
    if (free < kTooFew) {
      finding.health = Health::fatal;
      finding.advice = "free some space, or choose another folder with --out";
    } else if (free < kScarce) {
      finding.health = Health::problem;
      finding.advice =
          "a checkpoint takes 12 bytes per parameter; lower checkpoint.keep or free space";
    } else if (seconds > kSlowSync) {
      finding.health = Health::note;
      finding.advice =
          "checkpoints will be slow to finish; a local disk is better than a network's";
    }
    return finding;
  } catch (const std::exception& error) {  // ours, or the file system's
    return {name, Health::fatal, error.what(), "choose a folder that can be written with --out"};
  }
}

Finding check_limits() {
  const rlim_t files = soft_limit(RLIMIT_NOFILE), locked = soft_limit(RLIMIT_MEMLOCK),
               size = soft_limit(RLIMIT_FSIZE), space = soft_limit(RLIMIT_AS);
  Finding finding = {
      "limits", Health::ok,
      fmt::format("open files {}, locked memory {}, file size {}, address space {}",
                  limit_text(files), limit_text(locked), limit_text(size), limit_text(space)),
      ""};
  if (size != RLIM_INFINITY || space != RLIM_INFINITY) {
    finding.health = Health::problem;
    finding.advice = "a checkpoint or a model may not fit; ulimit -f unlimited -v unlimited";
  } else if (files < 256) {
    finding.health = Health::note;
    finding.advice = "many token stores need many open files; ulimit -n 4096";
  }
  return finding;
}

Finding check_libraries() {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  return {"libraries", Health::ok,
          fmt::format("isoflop " ISOFLOP_VERSION " by {}, HDF5 {}.{}.{}",
                      detect_environment().compiler, major, minor, release),
          ""};
}

Finding check_gpu(const gpu::DeviceReport& report, const std::string& driver_file) {
  const std::string driver =
      report.driver.empty() ? "no NVIDIA driver" : "a driver for CUDA " + report.driver;
  Finding finding = {"gpu", Health::ok, "", ""};
  if (!report.built) {
    finding.text = "this program is built without CUDA: computing on the CPU";
  } else {
    finding.text =
        fmt::format("built for {}; {} here{}", report.built_for, driver,
                    report.devices > 0 ? fmt::format(", {} to train on in bf16", report.devices)
                                       : std::string(": computing on the CPU"));
  }
  if (report.devices > 1) finding.text += "; between them: " + nccl_version();
  // The kernel has a driver, so a GPU was meant to be used.
  if (!driver_file.empty()) {
    finding.text += "; " + driver_file;
    if (report.devices == 0) {
      finding.health = Health::problem;
      finding.advice = report.problem;
    }
  }
  return finding;
}

Finding check_mpi() {
  const std::string mpirun = find_program("mpirun");
  return {"mpi", Health::ok, mpirun.empty() ? "no mpirun: ranks over TCP only" : mpirun, ""};
}

std::vector<Finding> examine_machine(const SystemFiles& files,
                                     const fs::path& out,
                                     const Machine& machine) {
  const int usable = detect_environment().cores;
  return {check_cpu(files, machine.backend->description()),
          check_compute(machine.choice, cpu::amx_state()),
          check_cores(files, usable),
          check_memory(files),
          check_memory_nodes(files, allowed_cores()),
          check_huge_pages(files),
          check_swap(files),
          check_governor(files),
          check_clock(files),
          check_load(files, usable),
          check_disk(out),
          check_limits(),
          check_libraries(),
          check_gpu(gpu::find_devices(), files.line("proc/driver/nvidia/version")),
          check_mpi()};
}

}  // namespace isoflop
