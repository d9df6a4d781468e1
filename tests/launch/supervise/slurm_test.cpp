// The job's script: what Slurm is told, and that a shell understands it.
#include "launch/supervise/slurm.hpp"

#include "tests/support/program.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

TEST(Slurm, TheScriptSignalsRequeuesAndIsOneThatBashReads) {
  const std::string script =
      slurm_script({.name = "first",
                    .ranks = 64,
                    .nodes = 8,
                    .grace = 90,
                    .flags = {"--time=24:00:00"},
                    .run = "runs/it's",
                    .folder = "/work here",
                    .first_words = {"/x/isoflop", "launch", "a b.toml"},
                    .resume_words = {"/x/isoflop", "launch", "--resume", "auto"}});
  for (const char* part :
       {"#!/bin/bash\n#SBATCH", "#SBATCH --nodes=8\n", "#SBATCH --ntasks=64\n",
        "#SBATCH --signal=B:USR1@90\n", "#SBATCH --requeue\n", "#SBATCH --time=24:00:00\n",
        "cd '/work here' || exit 2", "run='runs/it'\\''s'", "  /x/isoflop launch 'a b.toml' &",
        "  /x/isoflop launch --resume auto &", "scontrol requeue \"$SLURM_JOB_ID\""})
    EXPECT_NE(script.find(part), std::string::npos) << part << " in " << script;
  const test::TempDir folder;
  const std::string file = (folder.path() / "job").string();
  std::ofstream(file) << script;
  const test::ProgramResult bash = test::Program(test::Program::Words{{"bash", "-n", file}}).wait();
  EXPECT_EQ(bash.code, 0) << bash.err;
}

/// Runs the script with stand-ins for the launcher, which ends with `code`, and for scontrol.
std::string ending_with(int code, bool new_checkpoint) {
  const test::TempDir folder;
  const std::string run = (folder.path() / "run").string();
  const std::string at = folder.path().string();
  const std::string work = std::string("mkdir -p ") + run + "/checkpoints; " +
                           (new_checkpoint ? "echo step-1 >" + run + "/checkpoints/latest; " : "") +
                           "exit " + std::to_string(code);
  std::ofstream(folder.path() / "scontrol") << "#!/bin/sh\necho \"$@\" >" << at << "/asked\n";
  std::ofstream(folder.path() / "job") << slurm_script({.name = "x",
                                                        .ranks = 1,
                                                        .nodes = 1,
                                                        .flags = {},
                                                        .run = run,
                                                        .folder = at,
                                                        .first_words = {"sh", "-c", work},
                                                        .resume_words = {"false"}});
  fs::permissions(folder.path() / "scontrol", fs::perms::owner_all);
  const test::ProgramResult result =
      test::Program(test::Program::Words{{"PATH=" + at + ":" + std::getenv("PATH"),
                                          "SLURM_JOB_ID=7", "bash", at + "/job"}})
          .wait();
  EXPECT_EQ(result.code, code) << result.err;
  return test::slurp(folder.path() / "asked");
}

TEST(Slurm, TheJobQueuesItselfAgainWhenThatHelps) {
  EXPECT_EQ(ending_with(75, false), "requeue 7\n");
  EXPECT_EQ(ending_with(5, true), "requeue 7\n");
  EXPECT_EQ(ending_with(5, false), "") << "for ever without progress";
  EXPECT_EQ(ending_with(2, true), "");
  EXPECT_EQ(ending_with(0, true), "");
}

}  // namespace
}  // namespace isoflop
