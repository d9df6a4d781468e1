// Exit codes, help, and what goes to which stream.
#include "tests/support/program.hpp"

#include "launch/command.hpp"
#include "launch/config_arguments.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

using test::ProgramResult;
using test::run_program;

TEST(Program, WithoutACommandListsThem) {
  const ProgramResult nothing = run_program("");
  EXPECT_EQ(nothing.code, 2);
  EXPECT_EQ(nothing.out, "");
  const ProgramResult help = run_program("--help");
  EXPECT_EQ(help.code, 0);
  EXPECT_EQ(help.out, nothing.err);
  for (const Command& command : commands()) {
    EXPECT_NE(help.out.find("  " + command.name + " "), std::string::npos) << command.name;
  }
  EXPECT_EQ(run_program("--version").code, 0);
}

TEST(Program, EveryHelpOpensWithAnExample) {
  for (const Command& command : commands()) {
    const ProgramResult help = run_program(command.name + " --help");
    EXPECT_EQ(help.code, 0) << command.name;
    EXPECT_EQ(help.out.rfind("Example:\n  ", 0), 0u) << help.out;  // maybe under mpirun
    const std::string example = help.out.substr(0, help.out.find('\n', sizeof "Example:\n  "));
    EXPECT_NE(example.find("isoflop " + command.name), example.npos) << help.out;
    EXPECT_NE(help.out.find("--json"), std::string::npos) << command.name;
    EXPECT_EQ(help.err, "") << command.name;
  }
  EXPECT_EQ(run_program("help data build").out, run_program("data build --help").out);
}

TEST(Program, UnknownCommandsNameTheNearest) {
  const ProgramResult outcome = run_program("inpsect x");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "isoflop: there is no command inpsect; did you mean inspect?\n");
  EXPECT_EQ(run_program("tokenizer tarin").err,
            "isoflop: there is no command tokenizer tarin; did you mean tokenizer train?\n");
  EXPECT_EQ(run_program("xyzzy").code, 2);
  const ProgramResult group = run_program("tokenizer");
  EXPECT_EQ(group.code, 2);
  EXPECT_NE(group.err.find("tokenizer decode"), std::string::npos);
  EXPECT_EQ(run_program("tokenizer --help").code, 0);
}

TEST(Program, WrongFlagsAreTheUsersError) {
  const ProgramResult outcome = run_program("inspect --preset tiny-gpt3 --jason");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.err.find("did you mean --json?"), std::string::npos) << outcome.err;
  EXPECT_EQ(run_program("tokenizer encode --text x").code, 2);  // --tokenizer is missing
  EXPECT_EQ(run_program("data batch run.toml --step many").code, 2);
  EXPECT_EQ(run_program("data build --tokenizer t --out x.h5 --valid-fraction 0.1 text.txt").code,
            2);
}

TEST(Program, ConfigErrorsSayWhereAndExitWithTwo) {
  const test::TempDir folder;
  std::ofstream(folder.path() / "run.toml") << "[schedule]\nstpes = 5\n";
  const ProgramResult outcome = run_program("inspect run.toml", folder.path());
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err,
            "isoflop: run.toml:2: unknown key schedule.stpes; did you mean schedule.steps?\n");
  EXPECT_EQ(run_program("inspect absent.toml", folder.path()).code, 2);
  EXPECT_EQ(run_program("inspect absent.h5", folder.path()).code, 2);
  std::ofstream(folder.path() / "noise.bin") << std::string(3000, '\x89');
  EXPECT_EQ(run_program("inspect noise.bin", folder.path()).code, 2);
}

TEST(Program, NumbersOutOfRangeAndWhatIsNoNumberAreRefused) {
  for (const char* flags : {"--temperature nan", "--temperature -1", "--top-p inf", "--min-p x",
                            "--threads -1", "--threads 1000000"}) {
    const ProgramResult outcome = run_program(std::string("generate x ") + flags);
    EXPECT_EQ(outcome.code, 2) << flags;
    EXPECT_NE(outcome.err.find("range"), std::string::npos) << outcome.err;
  }
}

TEST(Program, JsonIsAllThereIsOnStandardOutput) {
  const ProgramResult outcome = run_program("inspect --preset cerebras-111m --json");
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.out.front(), '{');
  EXPECT_EQ(outcome.out.find('\n'), outcome.out.size() - 1);
  EXPECT_NE(outcome.out.find("\"parameters\":111050496"), std::string::npos);
  EXPECT_NE(outcome.out.find("\"steps\":9037"), std::string::npos);
  EXPECT_NE(outcome.err.find("d_model = 768"), std::string::npos);
  EXPECT_EQ(run_program("inspect --preset cerebras-111m --json --quiet").err, "");
}

TEST(Program, AClosedPipeEndsQuietly) {
  const test::TempDir folder;
  // The reader closes its end, then lets the writer start.
  std::ofstream(folder.path() / "script")
      << "mkfifo ready\n"
      << "{ read -r _ <ready; '" ISOFLOP_PROGRAM << "' inspect --keys 2>err; echo $? >code; } | "
      << "{ exec 0<&-; echo go >ready; }\n";
  ASSERT_EQ(std::system(("cd '" + folder.path().string() + "' && sh script").c_str()), 0);
  EXPECT_EQ(test::slurp(folder.path() / "code"), "0\n");
  EXPECT_EQ(test::slurp(folder.path() / "err"), "");
}

TEST(Program, AFullDiskIsAnIoError) {
  if (!std::filesystem::exists("/dev/full")) GTEST_SKIP() << "this machine has no /dev/full";
  const int status = std::system("'" ISOFLOP_PROGRAM "' inspect --keys >/dev/full 2>/dev/null");
  EXPECT_EQ(WEXITSTATUS(status), 5);
}

TEST(Program, ResolvedRunFileReadsBackTheSame) {
  const test::TempDir folder;
  const ProgramResult first = run_program("inspect --preset tiny-llama --json model.layers=3");
  const ProgramResult text = run_program("inspect --preset tiny-llama --quiet model.layers=3");
  std::ofstream(folder.path() / "again.toml") << text.out.substr(0, text.out.find("\nparameters"));
  const ProgramResult second = run_program("inspect again.toml --json", folder.path());
  EXPECT_EQ(second.code, 0) << second.err;
  EXPECT_EQ(first.out, second.out);
}

TEST(Program, TheRepositorysRunFilesLoad) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(ISOFLOP_SOURCE_DIR "/configs")) {
    const ProgramResult outcome = run_program("inspect '" + entry.path().string() + "' --quiet");
    EXPECT_EQ(outcome.code, 0) << entry.path() << outcome.err;
    ++files;
  }
  EXPECT_GE(files, 2);
}

TEST(ConfigArguments, WordsAreSortedByWhatTheyAre) {
  const ConfigArguments arguments{
      {"run.toml", "optimizer.lr=3e-3", "a=b.txt", "dir/a=b.txt", "book.txt"}, "gpt3-125m"};
  EXPECT_EQ(arguments.file()->string(), "run.toml");
  EXPECT_EQ(arguments.overrides(),
            (std::vector<std::string>{"model.preset=gpt3-125m", "optimizer.lr=3e-3", "a=b.txt"}));
  EXPECT_EQ(arguments.others(), (std::vector<std::string>{"dir/a=b.txt", "book.txt"}));
}

}  // namespace
}  // namespace isoflop
