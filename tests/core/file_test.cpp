#include "core/file.hpp"

#include "core/error.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <set>

namespace isoflop {
namespace {

using test::TempDir;

// Runs body in a child process; returns its wait status. The child ends with 0, or 1 on an
// exception.
int in_child(const std::function<void()>& body) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      body();
    } catch (...) {
      ::_exit(1);
    }
    ::_exit(0);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  return status;
}

size_t files_in(const fs::path& folder) {
  size_t count = 0;
  for (auto it = fs::directory_iterator(folder); it != fs::directory_iterator(); ++it) ++count;
  return count;
}

TEST(WriteFileAtomically, WritesAndReplaces) {
  const TempDir dir;
  const fs::path path = dir.path() / "a.txt";
  for (const std::string& content :
       {std::string("old"), std::string(), std::string(3 << 20, 'n')}) {
    write_file_atomically(path, content);
    EXPECT_EQ(read_file(path), content);
    EXPECT_EQ(files_in(dir.path()), 1u) << "no temporary file stays";
  }
}

// Power cut at every system call in turn: a reader finds the old file or the new one, whole, and
// the next write succeeds.
TEST(WriteFileAtomically, SurvivesADeathAtEveryPoint) {
  const TempDir dir;
  const fs::path path = dir.path() / "state.json";
  const std::string old_content(1000, 'o'), new_content((3 << 20) + 5, 'n');
  std::set<std::string> outcomes;
  for (const std::string point : {"write", "fsync", "rename"}) {
    int deaths = 0;
    for (int call = 1; call < 100; ++call) {
      write_file_atomically(path, old_content);
      const int status = in_child([&] {
        ::setenv("ISOFLOP_FAULT", (point + ":" + std::to_string(call)).c_str(), 1);
        write_file_atomically(path, new_content);
      });
      const std::string found = read_file(path);
      if (!WIFSIGNALED(status)) {
        EXPECT_EQ(status, 0);
        EXPECT_EQ(found, new_content);
        break;
      }
      EXPECT_EQ(WTERMSIG(status), SIGKILL);
      EXPECT_TRUE(found == old_content || found == new_content) << point << " " << call;
      outcomes.insert(found);
      ++deaths;
    }
    const int expected =
        point == "write" ? 4 : 2;  // 1 MiB pieces; file and folder; before and after
    EXPECT_EQ(deaths, expected) << point;
  }
  EXPECT_EQ(outcomes.size(), 2u) << "deaths fell on both sides of the rename";
}

TEST(WriteFileAtomically, FailureLeavesTheOldFile) {
  const TempDir dir;
  const fs::path path = dir.path() / "a.bin";
  write_file_atomically(path, "old");
  // A full disk, as far as one process can see it: files may not grow beyond 1 MB.
  const int status = in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1'000'000, 1'000'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_file_atomically(path, std::string(5 << 20, 'n'));
    } catch (const IoError&) {
      ::_exit(42);
    }
  });
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(files_in(dir.path()), 1u);
}

TEST(WriteFileAtomically, NamesWhatFailed) {
  const TempDir dir;
  try {
    write_file_atomically(dir.path() / "absent" / "a.txt", "x");
    FAIL() << "no exception";
  } catch (const IoError& e) {
    EXPECT_NE(std::string(e.what()).find("absent"), std::string::npos) << e.what();
  }
  fs::create_directory(dir.path() / "taken");
  EXPECT_THROW(write_file_atomically(dir.path() / "taken", "x"), IoError);
  EXPECT_EQ(files_in(dir.path()), 1u) << "the temporary file is removed";
}

TEST(ReadFile, RefusesWhatItCannotRead) {
  const TempDir dir;
  EXPECT_THROW(read_file(dir.path() / "absent"), UserError);
  EXPECT_THROW(read_file(dir.path()), UserError);
}

TEST(TemporaryName, LiesBesideTheFile) {
  EXPECT_EQ(temporary_name("a/b/c.h5").parent_path(), "a/b");
  EXPECT_NE(temporary_name("a/b/c.h5"), fs::path("a/b/c.h5"));
  EXPECT_NE(temporary_name("a/b/c.h5"), temporary_name("a/b/d.h5"));
}

TEST(CommitFile, WorksInTheCurrentFolder) {
  const TempDir dir;
  const int status = in_child([&] {
    fs::current_path(dir.path());
    write_file_atomically("plain.txt", "x");
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_file(dir.path() / "plain.txt"), "x");
}

TEST(RequireWritableDirectory, CreatesOrRefuses) {
  const TempDir dir;
  require_writable_directory(dir.path() / "a" / "b");
  EXPECT_EQ(files_in(dir.path() / "a" / "b"), 0u) << "the probe is removed";
  write_file_atomically(dir.path() / "file", "x");
  EXPECT_THROW(require_writable_directory(dir.path() / "file"), UserError);
  EXPECT_THROW(require_writable_directory(dir.path() / "file" / "below"), UserError);
  EXPECT_THROW(require_writable_directory("/proc/isoflop"), UserError);
}

TEST(MappedFile, MapsMovesAndRefuses) {
  const TempDir dir;
  write_file_atomically(dir.path() / "a", "hello");
  write_file_atomically(dir.path() / "empty", "");
  MappedFile a(dir.path() / "a");
  EXPECT_EQ(a.text(), "hello");
  MappedFile b = std::move(a);
  EXPECT_EQ(b.text(), "hello");
  b = MappedFile(dir.path() / "empty");
  EXPECT_EQ(b.size(), 0u);
  EXPECT_EQ(b.text(), "");
  EXPECT_THROW(MappedFile(dir.path() / "absent"), UserError);
  EXPECT_THROW(MappedFile(dir.path()), UserError);
  EXPECT_THROW(MappedFile("/dev/null"), UserError);
}

}  // namespace
}  // namespace isoflop
