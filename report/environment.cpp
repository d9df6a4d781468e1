#include "report/environment.hpp"

#include <nlohmann/json.hpp>
#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>

namespace isoflop {

namespace {

std::string cpu_model() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != line.npos) return line.substr(colon + 2);
  }
  return "unknown";
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
}

}  // namespace

Environment detect_environment() {
  Environment environment;
  environment.version = ISOFLOP_VERSION;
#ifdef __clang__
  environment.compiler = "clang " __clang_version__;
#else
  environment.compiler = "g++ " __VERSION__;
#endif
  environment.cpu = cpu_model();
  environment.cores = usable_cores();
  environment.memory_bytes = static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) *
                             static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  utsname name = {};
  if (::uname(&name) == 0) {
    environment.kernel = std::string(name.sysname) + " " + name.release + " " + name.machine;
    environment.host = name.nodename;
  }
  return environment;
}

void write_environment(const fs::path& run, std::string_view backend, int threads) {
  const Environment e = detect_environment();
  const nlohmann::ordered_json json = {{"version", e.version},
                                       {"compiler", e.compiler},
                                       {"backend", backend},
                                       {"threads", threads},
                                       {"cpu", e.cpu},
                                       {"cores", e.cores},
                                       {"memory_bytes", e.memory_bytes},
                                       {"kernel", e.kernel},
                                       {"host", e.host}};
  write_file_atomically(run / "environment.json",
                        json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace isoflop
