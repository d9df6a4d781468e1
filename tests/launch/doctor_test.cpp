// The doctor's checks on machines that are not ours: files of /proc and /sys in a folder.
#include "launch/doctor.hpp"

#include "tests/support/folder_test.hpp"
#include "tests/support/program.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace isoflop {
namespace {

class Doctor : public FolderTest {
 protected:
  SystemFiles files() const { return {path("")}; }
};

TEST_F(Doctor, AQuotaBelowTheCoresIsAProblem) {
  write("sys/fs/cgroup/cpu.max", "max 100000\n");
  EXPECT_EQ(check_cores(files(), 8).health, Health::ok);
  write("sys/fs/cgroup/cpu.max", "250000 100000\n");
  const Finding finding = check_cores(files(), 8);
  EXPECT_EQ(finding.health, Health::problem);
  EXPECT_NE(finding.advice.find("compute.threads=2"), std::string::npos) << finding.advice;
  EXPECT_EQ(check_cores(files(), 2).health, Health::ok);
}

TEST_F(Doctor, MemoryIsWhatTheControlGroupLeaves) {
  write("proc/meminfo",
        "MemTotal:       16000000 kB\nMemAvailable:   12000000 kB\n"
        "SwapTotal:      1000000 kB\nSwapFree:        500000 kB\n");
  EXPECT_EQ(check_memory(files()).health, Health::ok);
  EXPECT_EQ(check_swap(files()).health, Health::note);
  write("sys/fs/cgroup/memory.max", "1000000000\n");
  EXPECT_EQ(check_memory(files()).health, Health::note);
  write("sys/fs/cgroup/memory.current", "900000000\n");
  EXPECT_EQ(check_memory(files()).health, Health::fatal);
}

TEST_F(Doctor, SeveralNodesOfMemoryAreANote) {
  EXPECT_EQ(check_memory_nodes(files(), {0, 4}).health, Health::ok);
  write("sys/devices/system/node/has_memory", "0-1\n");
  write("sys/devices/system/node/node0/cpulist", "0-3\n");
  write("sys/devices/system/node/node1/cpulist", "4-7\n");
  const Finding one = check_memory_nodes(files(), {4, 5});
  EXPECT_EQ(one.health, Health::ok);
  EXPECT_EQ(one.text, "node 1 alone");
  const Finding both = check_memory_nodes(files(), {0, 4});
  EXPECT_EQ(both.health, Health::note);
  EXPECT_NE(both.text.find("nodes 0, 1;"), std::string::npos) << both.text;
  EXPECT_NE(both.advice.find("--map-by numa"), std::string::npos) << both.advice;
}

TEST_F(Doctor, ReadsTheChosenWordOfHugePagesGovernorAndClock) {
  write("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n");
  EXPECT_EQ(check_huge_pages(files()).health, Health::ok);
  write("sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
  EXPECT_EQ(check_huge_pages(files()).health, Health::note);
  EXPECT_EQ(check_governor(files()).health, Health::ok);
  write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
  EXPECT_EQ(check_governor(files()).health, Health::note);
  write("sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n");
  EXPECT_EQ(check_clock(files()).health, Health::note);
}

TEST_F(Doctor, ACpuWithoutAvx2IsSlow) {
  write("proc/cpuinfo", "model name\t: Old\nflags\t\t: fpu sse2 avx2x\n");
  const Finding old = check_cpu(files(), "cpu sse2");
  EXPECT_EQ(old.health, Health::note);
  EXPECT_NE(old.text.find("Old"), std::string::npos);
  write("proc/cpuinfo", "model name\t: New\nflags\t\t: fpu avx2 fma\n");
  EXPECT_EQ(check_cpu(files(), "cpu avx2").health, Health::ok);
}

TEST(DoctorCompute, SaysWhichWayAndWhy) {
  const ComputePath bf16{DType::bf16, cpu::Bf16Kernel::avx512_bf16};
  const ComputeChoice choice{bf16, {{{}, 100e9}, {bf16, 213e9}}, "2.13 times the rate of fp32"};
  const Finding finding = check_compute(choice, cpu::Amx::absent);
  EXPECT_EQ(finding.health, Health::ok);
  EXPECT_EQ(finding.text,
            "training takes bf16 avx512-bf16: 2.13 times the rate of fp32 (GFLOP/s of a thread: "
            "fp32 100, bf16 avx512-bf16 213; AMX absent)");
  EXPECT_EQ(check_compute(choice, cpu::Amx::granted).health, Health::ok);
  const Finding refused = check_compute(choice, cpu::Amx::refused);
  EXPECT_EQ(refused.health, Health::problem);
  EXPECT_NE(refused.advice.find("arch_prctl"), std::string::npos) << refused.advice;
}

TEST(DoctorGpu, NamesTheDriverThatIsNeededAndTheOneThatIsThere) {
  gpu::DeviceReport report;
  EXPECT_NE(check_gpu(report, "").text.find("without CUDA"), std::string::npos);
  report.built = true;
  report.built_for = "CUDA 13.0, needs a driver for CUDA 13 or later";
  report.problem = "install another";
  const Finding none = check_gpu(report, "");
  EXPECT_EQ(none.health, Health::ok);
  EXPECT_EQ(none.text,
            "built for CUDA 13.0, needs a driver for CUDA 13 or later; no NVIDIA driver here: "
            "computing on the CPU");
  report.driver = "12.4";
  const Finding old = check_gpu(report, "NVRM version 550.54");
  EXPECT_EQ(old.health, Health::problem);
  EXPECT_NE(old.text.find("a driver for CUDA 12.4 here"), std::string::npos) << old.text;
  EXPECT_EQ(old.advice, "install another");
  report.devices = 2;
  EXPECT_EQ(check_gpu(report, "NVRM version 580").health, Health::ok);
}

TEST(DoctorGpu, AGpuAskedForByNameThatIsNotHereIsTheUsersProblem) {
  const gpu::DeviceReport report = gpu::find_devices();
  if (report.devices > 0) GTEST_SKIP() << "there is a GPU here";
  const test::ProgramResult named =
      test::run_program("bench step --preset gpt3-125m compute.device=cuda");
  EXPECT_EQ(named.code, 2) << named.err;
  EXPECT_NE(named.err.find(report.problem), std::string::npos) << named.err;
}

TEST_F(Doctor, AFolderThatCannotBeWrittenPreventsARun) {
  EXPECT_NE(check_disk(path("")).health, Health::fatal);
  EXPECT_EQ(check_disk(path("absent")).health, Health::fatal);
  EXPECT_TRUE(std::filesystem::is_empty(path(""))) << "the probe is removed";
  const test::ProgramResult bad =
      test::run_program("doctor --out '" + path("absent").string() + "' --json");
  EXPECT_EQ(bad.code, 5) << bad.err;
  const auto json = nlohmann::json::parse(bad.out);
  EXPECT_EQ(json.at("health"), "fatal");
  const test::ProgramResult good = test::run_program("doctor --out '" + path("").string() + "'");
  EXPECT_EQ(good.code, 0) << good.out;
  EXPECT_NE(good.out.find("cpu"), std::string::npos);
}

}  // namespace
}  // namespace isoflop
