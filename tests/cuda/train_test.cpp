// A whole run on the emulated device, whose memory the host cannot touch: what `train` does there,
// against the CPU in bf16, and against itself from a checkpoint on.
#include "core/threads.hpp"
#include "cpu/backend.hpp"
#include "pretrain/train/replay.hpp"
#include "pretrain/train/trainer.hpp"
#include "report/metrics_reader.hpp"
#include "tests/cuda/emulated_device.hpp"
#include "tests/cuda/tiny_run.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace isoflop::test {
namespace {

std::map<int64_t, RecordedStep> train_on(Backend& backend, const Run& run) {
  TrainerOptions options;
  options.quiet = true;
  Trainer trainer(run, backend, options, std::nullopt);
  trainer.run();
  return read_metrics(run.folder, 1, kTinySteps);
}

/// Of the device's memory.
size_t planned_bytes(const Run& run) {
  size_t bytes = 0;
  for (const MemoryRow& row :
       plan_memory(run.config, run.table, run.batch, DType::bf16, DType::f32, 1, MemoryOf::device))
    bytes += row.bytes;
  return bytes;
}

struct Case {
  std::string name, arch, setting;
};

class TrainOnDevice : public ::testing::TestWithParam<Case> {
 protected:
  TempDir folder_;
};

// One rounding to bf16 here or there moves a loss by a few 2^-9 of what a token contributes; over
// four steps of 64 tokens that stays below a percent of a loss of about 5.5.
TEST_P(TrainOnDevice, LearnsAsOnTheCpuInBf16AndTheSameFromACheckpointOn) {
  const auto& [name, arch, setting] = GetParam();
  const isoflop::Run run = tiny_run(folder_.path() / "gpu", arch, {setting});
  const isoflop::Run twin = tiny_run(folder_.path() / "cpu", arch, {setting});
  ThreadTeam team(1);
  const auto device = make_emulated_gpu(), cpu = make_cpu_backend(team, DType::bf16);
  const auto ours = train_on(*device, run), theirs = train_on(*cpu, twin);
  ASSERT_EQ(ours.size(), static_cast<size_t>(kTinySteps));
  for (const auto& [step, record] : ours) {
    const RecordedStep& other = theirs.at(step);
    EXPECT_NEAR(*record.loss, *other.loss, 0.01 * *other.loss) << step;
    EXPECT_NEAR(*record.grad_norm, *other.grad_norm, 0.03 * *other.grad_norm) << step;
  }
  EXPECT_LT(*ours.at(kTinySteps).loss, *ours.at(1).loss);
  // And the numbers of a step of two slots, too few to plan for.
  EXPECT_EQ(device->peak_bytes(), planned_bytes(run) + 4 * sizeof(double));

  // On a device of its own, whose threads run in the other order, and which would sum products
  // another way if it were not told how the run does.
  const auto again = make_emulated_gpu(Turns::descending, 1);
  again->use_choices(device->choices());
  std::vector<std::string> warnings;
  const CheckpointRef from =
      open_checkpoint((run.folder / "checkpoints" / checkpoint_name(2)).string(), warnings);
  const ReplayReport report =
      replay(run, *again, from, load_state(from), {}, kTinySteps, [](int64_t) {});
  EXPECT_EQ(report.difference, "");
  EXPECT_EQ(report.step, kTinySteps);
  EXPECT_GE(report.compared, 2 * 4);  // verdict, loss, norm, hash of the parameters of two steps
  if (name != "gpt3") return;
  const auto untold = make_emulated_gpu(Turns::ascending, 1);
  EXPECT_NE(replay(run, *untold, from, load_state(from), {}, 3, [](int64_t) {}).difference, "");
}

INSTANTIATE_TEST_SUITE_P(Architectures,
                         TrainOnDevice,
                         ::testing::Values(Case{"gpt3", "gpt3", "model.tied_embeddings=true"},
                                           Case{"llama", "llama", "model.kv_heads=1"},
                                           Case{"pythia", "pythia", "model.qk_norm=true"},
                                           Case{"bf16_moments", "gpt3", "optimizer.state=bf16"},
                                           Case{"muon", "llama", "optimizer.kind=muon"}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace isoflop::test
