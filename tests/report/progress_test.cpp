#include "report/progress.hpp"

#include "report/humanize.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

namespace isoflop {
namespace {

ProgressState example() {
  ProgressState s;
  s.step = 1200;
  s.steps = 9037;
  s.loss = 3.4121;
  s.grad_norm = 0.81;
  s.lr = 5.4e-3;
  s.tokens_per_s = 18400;
  s.mfu = 0.41;
  s.memory_bytes = 3.1 * (1 << 30);
  s.eta_seconds = 4320;
  s.costliest = "matmul_grad_weight";
  s.costliest_share = 0.31;
  return s;
}

/// Everything written to the other end so far.
std::string drain(int fd) {
  ::fcntl(fd, F_SETFL, O_NONBLOCK);
  std::string text;
  char chunk[4096];
  for (ssize_t got; (got = ::read(fd, chunk, sizeof(chunk))) > 0;)
    text.append(chunk, static_cast<size_t>(got));
  return text;
}

TEST(Humanize, Counts) {
  EXPECT_EQ(human_count(0), "0");
  EXPECT_EQ(human_count(950), "950");
  EXPECT_EQ(human_count(999.7), "1k");
  EXPECT_EQ(human_count(18400), "18.4k");
  EXPECT_EQ(human_count(124439808), "124M");
  EXPECT_EQ(human_count(2.21e9), "2.21B");
  EXPECT_EQ(human_count(-1500), "-1.5k");
  EXPECT_EQ(human_count(3e17), "300000T");
}

TEST(Humanize, BytesDurationsRates) {
  EXPECT_EQ(human_bytes(512), "512");
  EXPECT_EQ(human_bytes(3.1 * (1 << 30)), "3.1G");
  EXPECT_EQ(human_bytes(1 << 20), "1M");
  EXPECT_EQ(human_duration(0.35), "350ms");
  EXPECT_EQ(human_duration(0.9999), "1s");
  EXPECT_EQ(human_duration(59.6), "1m00s");
  EXPECT_EQ(human_duration(185), "3m05s");
  EXPECT_EQ(human_duration(4320), "1h12m");
  EXPECT_EQ(human_duration(2 * 86400 + 4 * 3600), "2d04h");
  EXPECT_EQ(human_rate(5.4e-3), "5.4e-3");
  EXPECT_EQ(human_rate(6e-4), "6e-4");
  EXPECT_EQ(human_rate(0), "0");
}

TEST(Progress, LineReadsAsDesigned) {
  EXPECT_EQ(progress_text(example()),
            "step 1200/9037 13.3% | loss 3.412 | gn 0.81 | lr 5.4e-3 | 18.4k tok/s | mem 3.1G | "
            "eta 1h12m | MFU 41% | matmul_grad_weight 31%");
  ProgressState s = example();
  s.planned_loss = 3.39;
  s.planned_margin = 0.05;
  EXPECT_NE(progress_text(s).find("| loss 3.412 (plan 3.39±0.05) | gn"), std::string::npos);
  s.hidden = 0.93;
  EXPECT_NE(progress_text(s).find("| MFU 41% | comm 93% hidden | matmul"), std::string::npos);
}

TEST(Progress, NarrowTerminalLosesTheLeastTellingFields) {
  EXPECT_EQ(progress_text(example(), 80),
            "step 1200/9037 13.3% | loss 3.412 | lr 5.4e-3 | 18.4k tok/s | eta 1h12m");
  EXPECT_EQ(progress_text(example(), 10), "step 1200/9037 13.3% | loss 3.412");
}

TEST(Progress, PlainOutputIsALineEverySoOftenAndTheLastStep) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ProgressOptions options;
  options.fd = ends[1];
  options.plain_interval_s = 1e9;
  ProgressLine line(options);
  ProgressState s = example();
  line.update(s);
  s.step = 1201;
  line.update(s);  // too soon
  s.step = s.steps;
  line.update(s);
  const std::string text = drain(ends[0]);
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_EQ(text.find("step 1201/"), std::string::npos);
  EXPECT_NE(text.find("step 9037/9037 100.0%"), std::string::npos);
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(Progress, TerminalIsRewrittenInPlaceWithinItsWidth) {
  int master = -1, terminal = -1;
  winsize size = {};
  size.ws_row = 24;
  size.ws_col = 60;
  if (::openpty(&master, &terminal, nullptr, nullptr, &size) != 0) GTEST_SKIP() << "no pty here";
  ::setenv("TERM", "xterm", 1);
  ProgressOptions options;
  options.fd = terminal;
  options.terminal_interval_s = 0;
  {
    ProgressLine line(options);
    line.update(example());
    line.note("saved");
    line.update(example());
  }
  const std::string text = drain(master);
  EXPECT_EQ(text.substr(0, 6), "\rstep ");
  EXPECT_NE(text.find("\rsaved\x1b[K\r\nstep 1200"), std::string::npos);  // the tty adds \r to \n
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);  // after the note and at the end
  EXPECT_LT(text.find("\x1b[K"), 61u);
  ::close(master);
  ::close(terminal);
}

TEST(Progress, QuietWritesNothing) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ProgressOptions options;
  options.fd = ends[1];
  options.quiet = true;
  ProgressLine line(options);
  line.update(example());
  line.note("saved");
  line.finish();
  EXPECT_EQ(drain(ends[0]), "");
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace isoflop
