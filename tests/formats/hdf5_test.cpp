#include "formats/hdf5.hpp"

#include "core/error.hpp"
#include "core/file.hpp"
#include "tests/support/folder_test.hpp"
#include "tests/support/under_sanitizer.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <numeric>
#include <thread>

#if defined(ISOFLOP_UNDER_ASAN)
#include <sanitizer/lsan_interface.h>
#endif

namespace isoflop {
namespace {

using hdf5::File;
using hdf5::Type;

class Hdf5 : public FolderTest {
 protected:
  fs::path write_example(const std::string& name, uint64_t count) const {
    std::vector<uint16_t> values(count);
    std::iota(values.begin(), values.end(), uint16_t{1});
    const uint64_t shape[] = {count};
    File file = File::create(path(name));
    file.write_dataset<uint16_t>("/group/values", shape, values);
    file.set_attribute("/", "format_version", uint64_t{7});
    file.write_text("/note", "hello");
    file.close();
    return path(name);
  }
  void damage_every(size_t stride) const;
};

TEST_F(Hdf5, ReadsBackWhatWasWritten) {
  {
    File file = File::create(path("a.h5"));
    const uint64_t matrix[] = {3, 2}, list[] = {4};
    file.create_dataset("/p/m", Type::f32, matrix);
    file.write_rows<float>("/p/m", 1, std::vector<float>{3, 4, 5, 6});
    file.write_rows<float>("/p/m", 0, std::vector<float>{1, 2});
    file.write_dataset<uint64_t>("/p/l", list, std::vector<uint64_t>{1, 2, 3, ~uint64_t{0}});
    file.create_group("/empty/deep");
    file.set_attribute("/p/m", "unit", "nats per token");
    file.set_attribute("/p/m", "nothing", "");
    file.set_attribute("/p", "big", ~uint64_t{0});
    file.set_attribute("/p", "small", int64_t{-5});
    file.set_attribute("/", "real", 0.1);
    file.set_attribute("/", "list", std::vector<uint64_t>{3, 1, 2});
    file.write_text("/text", std::string(200000, 'x') + "\u00e9");
    file.write_text("/no_text", "");
    file.close();
  }
  const File file = File::open(path("a.h5"));
  EXPECT_EQ(file.read_dataset<float>("/p/m", 6), (std::vector<float>{1, 2, 3, 4, 5, 6}));
  std::vector<float> row(2);
  file.read_rows<float>("/p/m", 2, row);
  EXPECT_EQ(row, (std::vector<float>{5, 6}));
  EXPECT_EQ(file.read_dataset<uint64_t>("/p/l", 4)[3], ~uint64_t{0});
  EXPECT_EQ(file.info("/p/m").shape, (std::vector<uint64_t>{3, 2}));
  EXPECT_EQ(file.children("/"), (std::vector<std::string>{"empty", "no_text", "p", "text"}));
  EXPECT_TRUE(file.exists("/empty/deep"));
  EXPECT_FALSE(file.exists("/nowhere/deep"));
  EXPECT_EQ(file.string_attribute("/p/m", "unit"), "nats per token");
  EXPECT_EQ(file.string_attribute("/p/m", "nothing"), "");
  EXPECT_EQ(file.u64_attribute("/p", "big"), ~uint64_t{0});
  EXPECT_EQ(file.i64_attribute("/p", "small"), -5);
  EXPECT_EQ(file.f64_attribute("/", "real"), 0.1);
  EXPECT_EQ(file.u64s_attribute("/", "list"), (std::vector<uint64_t>{3, 1, 2}));
  EXPECT_FALSE(file.has_attribute("/", "other"));
  EXPECT_EQ(file.read_text("/text"), std::string(200000, 'x') + "\u00e9");
  EXPECT_EQ(file.read_text("/no_text"), "");
}

TEST_F(Hdf5, DataLiesAtItsOffset) {
  const fs::path file = write_example("o.h5", 5000);
  const auto info = File::open(file).info("/group/values");
  ASSERT_TRUE(info.offset.has_value());
  const std::string bytes = read_file(file);
  uint16_t third = 0;
  std::memcpy(&third, bytes.data() + *info.offset + 4, 2);
  EXPECT_EQ(third, 3);
  EXPECT_EQ(*info.offset % 4096, 0u);  // 10 KB are worth a page of their own
}

TEST_F(Hdf5, EqualContentGivesEqualBytes) {
  const fs::path a = write_example("a.h5", 100);
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // stored times have seconds
  const fs::path b = write_example("b.h5", 100);
  EXPECT_EQ(read_file(a), read_file(b));
}

TEST_F(Hdf5, VirtualDatasetShowsItsPieces) {
  for (int part = 0; part < 2; ++part) {
    File file = File::create(path("part" + std::to_string(part) + ".h5"));
    const uint64_t shape[] = {2, 3};
    std::vector<float> values(6);
    std::iota(values.begin(), values.end(), static_cast<float>(6 * part));
    file.write_dataset<float>("/w", shape, values);
    file.close();
  }
  {
    File file = File::create(path("whole.h5"));
    const uint64_t shape[] = {4, 3};
    const std::vector<hdf5::VirtualPiece> pieces = {{"part0.h5", "/w", {2, 3}, 0, 2, 0},
                                                    {"part1.h5", "/w", {2, 3}, 0, 2, 2}};
    file.create_virtual_dataset("/deep/w", Type::f32, shape, pieces);
    file.close();
  }
  std::vector<float> expected(12);
  std::iota(expected.begin(), expected.end(), 0.0f);
  const File file = File::open(path("whole.h5"));
  EXPECT_FALSE(file.info("/deep/w").offset.has_value());
  EXPECT_EQ(file.read_dataset<float>("/deep/w", 12), expected);
}

TEST_F(Hdf5, UserBytesComeFirst) {
  {
    File file = File::create(path("u.h5"), 4096);
    const uint64_t shape[] = {3};
    file.write_dataset<uint16_t>("/v", shape, std::vector<uint16_t>{1, 2, 3});
    file.close();
  }
  std::fstream(path("u.h5"), std::ios::in | std::ios::out) << "mine";
  EXPECT_TRUE(File::has_signature(path("u.h5")));
  const File file = File::open(path("u.h5"));
  EXPECT_EQ(file.read_dataset<uint16_t>("/v", 3), (std::vector<uint16_t>{1, 2, 3}));
  const std::string bytes = read_file(path("u.h5"));
  uint16_t second = 0;
  std::memcpy(&second, bytes.data() + *file.info("/v").offset + 2, 2);
  EXPECT_EQ(second, 2);
}

TEST_F(Hdf5, ErrorsNameFileAndObject) {
  const File file = File::open(write_example("e.h5", 10));
  const std::string missing = message_of([&] { file.read_dataset<float>("/group/none", 10); });
  EXPECT_NE(missing.find("e.h5"), std::string::npos) << missing;
  EXPECT_NE(missing.find("/group/none"), std::string::npos) << missing;
  EXPECT_THROW(file.read_dataset<float>("/group/values", 10), FormatError);    // holds u16
  EXPECT_THROW(file.read_dataset<uint16_t>("/group/values", 9), FormatError);  // too many
  EXPECT_THROW(file.read_dataset<uint16_t>("/group", 9), FormatError);         // a group
  EXPECT_THROW(file.string_attribute("/", "format_version"), FormatError);
  EXPECT_THROW(file.f64_attribute("/", "format_version"), FormatError);
  EXPECT_THROW(file.u64_attribute("/", "no_such"), FormatError);
  EXPECT_THROW(file.read_text("/group/values"), FormatError);
  std::vector<uint16_t> out(4);
  EXPECT_THROW(file.read_rows<uint16_t>("/group/values", 7, out), FormatError);
  EXPECT_THROW(file.read_rows<uint16_t>("/group/values", ~uint64_t{0}, out), FormatError);
  EXPECT_THROW(File::open(path("absent.h5")), UserError);
  EXPECT_THROW(File::open(path(".")), UserError);
  std::ofstream(path("text.h5")) << "not hdf5 at all";
  EXPECT_THROW(File::open(path("text.h5")), FormatError);
  EXPECT_FALSE(File::has_signature(path("text.h5")));
  EXPECT_TRUE(File::has_signature(path("e.h5")));
  EXPECT_THROW(File::create(path("no/such/folder.h5")), IoError);
}

TEST_F(Hdf5, TruncatedFilesAreRefused) {
  const fs::path file = write_example("t.h5", 5000);
  const uint64_t size = fs::file_size(file);
  for (uint64_t left = 0; left < size; left += 509) {
    fs::resize_file(write_example("t.h5", 5000), left);
    EXPECT_THROW(File::open(file).read_dataset<uint16_t>("/group/values", 5000), FormatError)
        << left;
  }
}

// Any one damaged byte gives the right answer or an error, never a crash.
void Hdf5::damage_every(size_t stride) const {
#if defined(ISOFLOP_UNDER_ASAN) || defined(ISOFLOP_UNDER_TSAN)
  GTEST_SKIP() << "the library reads past its buffers and asks for terabytes, which this build "
                  "does not forgive";
#endif
  const fs::path damaged = write_example("damaged.h5", 40);
  const size_t size = fs::file_size(damaged);
  size_t refused = 0;
  for (size_t at = 0; at < size; at += stride) {
    for (const uint8_t flip : {0x01, 0xff}) {
      flip_byte(damaged, at, flip);
      try {
        const File file = File::open(damaged);
        (void)file.children("/");
        (void)file.read_dataset<uint16_t>("/group/values", 1 << 20);
        (void)file.u64_attribute("/", "format_version");
        (void)file.read_text("/note");
      } catch (const FormatError&) {
        ++refused;
      }
      flip_byte(damaged, at, flip);
    }
  }
  EXPECT_GT(refused, 300 / stride);  // superblock, headers and heaps hold more than 300 bytes
}

TEST_F(Hdf5, DamagedBytesNeverCrash) {
  damage_every(7);
}
TEST_F(Hdf5, SlowDamagedBytesNeverCrash) {
  damage_every(1);
}

// A limit on file size stands in for a full disk: write() fails the same way.
TEST_F(Hdf5, FullDiskIsAnIoError) {
#if defined(ISOFLOP_UNDER_ASAN)
  const __lsan::ScopedDisabler library_keeps_what_it_could_not_write;
#endif
  const uint64_t shape[] = {1 << 20};
  const std::vector<float> values(1 << 20, 1.0f);
  rlimit old = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t limit : {rlim_t{1000}, rlim_t{3000}, rlim_t{1} << 20}) {
    rlimit small = old;
    small.rlim_cur = limit;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const std::string text = message_of([&] {
      File file = File::create(path("full.h5"));
      file.write_dataset<float>("/w", shape, values);
      file.close();
    });
    ::setrlimit(RLIMIT_FSIZE, &old);
    EXPECT_NE(text.find("full.h5"), std::string::npos) << text;
    EXPECT_NE(text.find("cannot write"), std::string::npos) << text;
  }
  // Small data stay in the library's buffer until the end, so only closing can notice.
  File file = File::create(path("late.h5"));
  const uint64_t ten[] = {10};
  file.write_dataset<float>("/w", ten, std::span(values).first(10));
  rlimit small = old;
  small.rlim_cur = 100;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(file.close(), IoError);
  ::setrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, old_handler);
}

TEST_F(Hdf5, ThreadsMayShareTheLibrary) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 20; ++i) {
        const fs::path file = write_example("t" + std::to_string(t) + ".h5", 1000);
        EXPECT_EQ(File::open(file).read_dataset<uint16_t>("/group/values", 1000)[999], 1000);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace isoflop
