#include "pretrain/config/batch_plan.hpp"

#include "core/error.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/config/resolve.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

/// Four slots of micro-batches of 2 x 16 tokens: 128 tokens where each has one of them.
RunConfig config_of(int64_t batch, double ramp, int64_t from = 0) {
  RunConfig config;
  config.model.context = 16;
  config.schedule.slots = 4;
  config.schedule.micro_batch = 2;
  config.schedule.batch_tokens = batch;
  config.schedule.batch_ramp = ramp;
  config.schedule.batch_ramp_from = from;
  return config;
}

TEST(BatchPlan, WithoutARampEveryStepIsTheSame) {
  const BatchPlan plan = batch_plan(config_of(512, 0));
  EXPECT_TRUE(plan.ramp.empty());
  EXPECT_EQ(plan.micro_batches_at(0), 4);
  EXPECT_EQ(plan.first_sequence(7), 7 * 32);
  EXPECT_EQ(plan.tokens_before(7), 7 * 512);
  EXPECT_DOUBLE_EQ(plan.steps_of(768), 1.5);
}

TEST(BatchPlan, EveryLevelLastsForItsShareOfTheRamp) {
  // 3,000 tokens over three levels: 8 steps of 128, 4 of 256, 3 of 384, then 512.
  const BatchPlan plan = batch_plan(config_of(512, 3000));
  const int64_t micro[] = {1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4};
  int64_t sequences = 0;
  for (int64_t step = 0; step < 17; ++step) {
    EXPECT_EQ(plan.micro_batches_at(step), micro[step]) << step;
    EXPECT_EQ(plan.first_sequence(step), sequences) << step;
    EXPECT_DOUBLE_EQ(plan.steps_of(static_cast<double>(sequences * 16)), static_cast<double>(step));
    sequences += 8 * micro[step];
    EXPECT_EQ(plan.sequences_at(step), 8 * micro[step]);
  }
  EXPECT_DOUBLE_EQ(plan.steps_of(64), 0.5);
  EXPECT_EQ(plan.first_sequence(1000), sequences + (1000 - 17) * 32);
}

TEST(BatchPlan, StartsWhereItIsTold) {
  const BatchPlan plan = batch_plan(config_of(512, 3000, 256));
  EXPECT_EQ(plan.tokens_at(0), 256);
  EXPECT_EQ(plan.ramp.size(), 3u);
  EXPECT_TRUE(batch_plan(config_of(512, 3000, 512)).ramp.empty());
}

TEST(BatchPlan, AHugeBatchHasBoundedLevels) {
  const BatchPlan plan = batch_plan(config_of(int64_t{128} << 20, 9e15));
  EXPECT_EQ(plan.ramp.size(), 1001u);
  EXPECT_EQ(plan.ramp.back().micro_batches, 1 << 20);
  for (size_t i = 1; i < plan.ramp.size(); ++i) {
    EXPECT_GT(plan.ramp[i].first_step, plan.ramp[i - 1].first_step);
    EXPECT_GT(plan.ramp[i].micro_batches, plan.ramp[i - 1].micro_batches);
    EXPECT_GT(plan.ramp[i].first_sequence, plan.ramp[i - 1].first_sequence);
  }
}

std::string refusal(const std::vector<std::string>& words) {
  Origins origins;
  std::vector<std::string> all = {"model.preset=gpt3-125m",      "model.vocabulary=512",
                                  "schedule.batch_tokens=65536", "schedule.slots=4",
                                  "schedule.micro_batch=1",      "schedule.tokens=1e9"};
  all.insert(all.end(), words.begin(), words.end());
  try {
    load_config(std::nullopt, all, origins);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(BatchPlan, RefusesWhatCannotGrow) {
  EXPECT_EQ(refusal({"schedule.batch_ramp=1e8", "schedule.batch_ramp_from=16384"}), "");
  EXPECT_NE(refusal({"schedule.batch_ramp=1e8", "schedule.batch_ramp_from=20000"})
                .find("the nearest is 16384"),
            std::string::npos);
  EXPECT_NE(refusal({"schedule.batch_ramp=1e8", "schedule.batch_ramp_from=131072"})
                .find("the nearest is 65536"),
            std::string::npos);
  EXPECT_NE(refusal({"schedule.batch_ramp_from=16384"}).find("give both"), std::string::npos);
  EXPECT_NE(refusal({"schedule.batch_ramp=1e17"}).find("schedule.batch_ramp"), std::string::npos);
}

TEST(BatchPlan, ARunOfTokensCountsTheRamp) {
  RunConfig config = config_of(512, 3000);
  config.schedule.tokens = 8 * 128 + 4 * 256 + 3 * 384 + 10 * 512 + 511;
  EXPECT_EQ(planned_steps(config, 1), 25);
  config.schedule.tokens = 300;
  EXPECT_EQ(planned_steps(config, 1), 2);
}

}  // namespace
}  // namespace isoflop
