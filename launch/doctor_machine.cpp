#include "core/numa.hpp"
#include "launch/doctor.hpp"
#include "report/environment.hpp"
#include "report/humanize.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

namespace isoflop {

namespace {

/// The number at the start of `text`; -1 when there is none.
double leading_number(const std::string& text) {
  double number = -1;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

double meminfo_bytes(const SystemFiles& files, const std::string& key) {
  const double kilobytes = leading_number(files.value("proc/meminfo", key));
  return kilobytes < 0 ? -1 : kilobytes * 1024;
}

/// Cores that the control group allows; 0 = no limit.
double cgroup_cores(const SystemFiles& files) {
  std::istringstream two(files.line("sys/fs/cgroup/cpu.max"));
  std::string quota;
  double period = 0;
  if (two >> quota >> period && quota != "max" && period > 0) return leading_number(quota) / period;
  const double old_quota = leading_number(files.line("sys/fs/cgroup/cpu/cpu.cfs_quota_us"));
  const double old_period = leading_number(files.line("sys/fs/cgroup/cpu/cpu.cfs_period_us"));
  return old_quota > 0 && old_period > 0 ? old_quota / old_period : 0;
}

/// Of every process: the time it has computed in clock ticks, and its name.
std::map<int, std::pair<double, std::string>> process_times(const SystemFiles& files) {
  std::map<int, std::pair<double, std::string>> times;
  std::error_code error;
  for (fs::directory_iterator it(files.root / "proc", error), end; !error && it != end;
       it.increment(error)) {
    const double pid = leading_number(it->path().filename().string());
    if (pid <= 0) continue;
    const std::string stat = files.line("proc/" + it->path().filename().string() + "/stat");
    const size_t open = stat.find('('), close = stat.rfind(')');
    if (open == stat.npos || close == stat.npos) continue;
    // After the name: state, then fields 4 to 13, then user and system time.
    std::istringstream rest(stat.substr(close + 1));
    std::string skipped;
    for (int field = 3; field <= 13; ++field) rest >> skipped;
    double user = 0, system = 0;
    if (rest >> user >> system)
      times[static_cast<int>(pid)] = {user + system, stat.substr(open + 1, close - open - 1)};
  }
  return times;
}

}  // namespace

const char* name_of(Health health) {
  switch (health) {
    case Health::ok:
      return "ok";
    case Health::note:
      return "note";
    case Health::problem:
      return "problem";
    case Health::fatal:
      break;
  }
  return "fatal";
}

std::string SystemFiles::line(const std::string& path) const {
  std::ifstream file(root / path);
  std::string text;
  std::getline(file, text);
  return text;
}

std::string SystemFiles::value(const std::string& path, const std::string& key) const {
  std::ifstream file(root / path);
  for (std::string text; std::getline(file, text);) {
    if (text.compare(0, key.size(), key) != 0) continue;
    const size_t at = text.find_first_not_of(" \t:", key.size());
    const bool ends =
        text.size() == key.size() || text.find_first_of(" \t:", key.size()) == key.size();
    if (ends) return at == text.npos ? "" : text.substr(at);
  }
  return "";
}

Finding check_cpu(const SystemFiles& files, const std::string& backend) {
  const std::string model = files.value("proc/cpuinfo", "model name");
  const std::string flags = " " + files.value("proc/cpuinfo", "flags") + " ";
  std::string has;
  for (const char* flag :
       {"avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16"})
    if (flags.find(fmt::format(" {} ", flag)) != flags.npos) has += fmt::format(" {}", flag);
  Finding finding = {"cpu", Health::ok, fmt::format("{}:{}; computes with {}", model, has, backend),
                     ""};
  if (has.find("avx2") == has.npos) {
    finding.health = Health::note;
    finding.advice = "without AVX2 training is several times slower; use a newer machine";
  }
  return finding;
}

Finding check_compute(const ComputeChoice& choice, cpu::Amx amx) {
  const char* const tiles = amx == cpu::Amx::granted   ? "granted"
                            : amx == cpu::Amx::refused ? "refused by the system"
                                                       : "absent";
  Finding finding = {
      "compute", Health::ok,
      fmt::format("training takes {}: {} (GFLOP/s of a thread: {}; AMX {})", name_of(choice.path),
                  choice.reason, rates_text(choice.rates), tiles),
      ""};
  if (amx == cpu::Amx::refused) {
    finding.health = Health::problem;
    finding.advice =
        "AMX would make bf16 several times faster; let the sandbox pass arch_prctl("
        "ARCH_REQ_XCOMP_PERM), or use Linux 5.16 or later";
  }
  return finding;
}

Finding check_cores(const SystemFiles& files, int usable) {
  const double quota = cgroup_cores(files);
  const long online = ::sysconf(_SC_NPROCESSORS_ONLN);
  Finding finding = {"cores", Health::ok,
                     fmt::format("{} usable of {} online{}", usable, online,
                                 quota > 0 ? fmt::format(", a quota of {:.1f}", quota)
                                           : std::string(", no quota")),
                     ""};
  if (quota > 0 && quota < usable) {
    finding.health = Health::problem;
    finding.advice = fmt::format(
        "more threads than the quota allows are stopped again and again; set compute.threads={}",
        std::max(1, static_cast<int>(std::floor(quota))));
  }
  return finding;
}

Finding check_memory(const SystemFiles& files) {
  const double total = meminfo_bytes(files, "MemTotal");
  double available = meminfo_bytes(files, "MemAvailable");
  const double limit = leading_number(files.line("sys/fs/cgroup/memory.max"));
  const double used = leading_number(files.line("sys/fs/cgroup/memory.current"));
  if (limit > 0) available = std::min(available, limit - std::max(0.0, used));
  Finding finding = {
      "memory", Health::ok,
      fmt::format("{} available of {}{}", human_bytes(available), human_bytes(total),
                  limit > 0 ? ", the control group allows " + human_bytes(limit) : ""),
      ""};
  if (available < 256e6) {
    finding.health = Health::fatal;
    finding.advice = "end other programs: there is no room for even a small model";
  } else if (available < 2e9) {
    finding.health = Health::note;
    finding.advice = "compare with the memory that isoflop train --dry-run plans";
  }
  return finding;
}

Finding check_memory_nodes(const SystemFiles& files, const std::vector<int>& cores) {
  const std::vector<int> nodes = memory_nodes(cores, files.root);
  if (nodes.empty()) return {"memory nodes", Health::ok, "the system does not say", ""};
  if (nodes.size() == 1)
    return {"memory nodes", Health::ok, fmt::format("node {} alone", nodes.front()), ""};
  return {"memory nodes", Health::note,
          fmt::format("nodes {}; the pages of large buffers come from them in turn",
                      fmt::join(nodes, ", ")),
          "one rank per node keeps memory near its cores: mpirun --map-by numa --bind-to numa"};
}

Finding check_huge_pages(const SystemFiles& files) {
  const std::string setting = files.line("sys/kernel/mm/transparent_hugepage/enabled");
  const size_t open = setting.find('['), close = setting.find(']');
  const bool known = open != setting.npos && close != setting.npos;
  const std::string chosen = known ? setting.substr(open + 1, close - open - 1) : "unknown";
  Finding finding = {"huge pages", Health::ok, "transparent huge pages: " + chosen, ""};
  if (chosen == "never") {
    finding.health = Health::note;
    finding.advice =
        "large models lose some speed; echo madvise > /sys/kernel/mm/transparent_hugepage/enabled";
  }
  return finding;
}

Finding check_swap(const SystemFiles& files) {
  const double total = meminfo_bytes(files, "SwapTotal"), free = meminfo_bytes(files, "SwapFree");
  if (total <= 0) return {"swap", Health::ok, "none", ""};
  Finding finding = {"swap", Health::ok,
                     fmt::format("{} used of {}", human_bytes(total - free), human_bytes(total)),
                     ""};
  if (total - free > 0.1 * total) {
    finding.health = Health::note;
    finding.advice = "memory was short; a run that swaps is hundreds of times slower";
  }
  return finding;
}

Finding check_governor(const SystemFiles& files) {
  const std::string governor = files.line("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  if (governor.empty())
    return {"frequency", Health::ok, "not ours to see (a virtual machine, or fixed)", ""};
  Finding finding = {"frequency", Health::ok, "governor " + governor, ""};
  if (governor == "powersave" || governor == "conservative") {
    finding.health = Health::note;
    finding.advice =
        "cores may stay slow; choose performance (cpupower frequency-set -g performance)";
  }
  return finding;
}

Finding check_clock(const SystemFiles& files) {
  const std::string source =
      files.line("sys/devices/system/clocksource/clocksource0/current_clocksource");
  const std::time_t now = std::chrono::system_clock::to_time_t(std::chrono::system_clock::now());
  std::tm utc = {};
  ::gmtime_r(&now, &utc);
  const int year = utc.tm_year + 1900;
  Finding finding = {"clock", Health::ok,
                     fmt::format("{}-{:02}-{:02} UTC, source {}", year, utc.tm_mon + 1, utc.tm_mday,
                                 source.empty() ? "unknown" : source),
                     ""};
  if (year < 2024 || year > 2100) {
    finding.health = Health::problem;
    finding.advice = "set the clock: times in metrics and TensorBoard will be wrong";
  } else if (source == "hpet" || source == "acpi_pm" || source == "jiffies") {
    finding.health = Health::note;
    finding.advice = "a slow clock: the kernel found the processor's own unreliable; see dmesg";
  }
  return finding;
}

Finding check_load(const SystemFiles& files, int usable) {
  const auto before = process_times(files);
  const auto start = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  const auto after = process_times(files);
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double ticks = static_cast<double>(::sysconf(_SC_CLK_TCK)) * seconds;
  double others = 0, most = 0;
  std::string name;
  for (const auto& [pid, now] : after) {
    const auto was = before.find(pid);
    if (was == before.end() || pid == ::getpid()) continue;
    const double cores = (now.first - was->second.first) / ticks;
    others += cores;
    if (cores > most) most = cores, name = fmt::format("{} ({})", now.second, pid);
  }
  Finding finding = {"load", Health::ok, fmt::format("others use {:.1f} cores", others), ""};
  if (others > 0.25 * usable) {
    finding.health = Health::note;
    finding.text += fmt::format(", most of it {}", name);
    finding.advice = "timings will be off and training slower; wait, or lower compute.threads";
  }
  return finding;
}

}  // namespace isoflop
