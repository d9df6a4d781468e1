// What the values of a run say together, and what "auto" becomes.
#include "core/error.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/config/presets.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/architecture.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

RunConfig make(const std::vector<std::string>& overrides) {
  Origins origins;
  std::vector<std::string> all = {"schedule.steps=10"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return resolved(load_config(std::nullopt, all, origins));
}

std::string complaint(const std::vector<std::string>& overrides) {
  try {
    make(overrides);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

TEST(ConfigResolve, FillsTheShape) {
  const ModelConfig gpt3 = make({"model.d_model=384", "model.heads=6"}).model;
  EXPECT_EQ(gpt3.kv_heads, 6);
  EXPECT_EQ(gpt3.head_dim, 64);
  EXPECT_EQ(gpt3.d_ff, 1536);
  const ModelConfig llama =
      make({"model.arch=llama", "model.d_model=384", "model.kv_heads=2"}).model;
  EXPECT_EQ(llama.kv_heads, 2);
  EXPECT_EQ(llama.d_ff, 1024);  // 8/3 x 384
  EXPECT_EQ(make({"model.arch=llama", "model.d_model=128", "model.heads=4"}).model.d_ff, 352);
}

TEST(ConfigResolve, RefusesShapesThatDoNotFit) {
  EXPECT_EQ(complaint({"model.d_model=385"}),
            "model.d_model = 385 is not a multiple of model.heads = 6; use 384 or 390, or set "
            "model.head_dim");
  EXPECT_EQ(complaint({"model.d_model=385", "model.head_dim=64"}), "");
  EXPECT_NE(complaint({"model.arch=llama", "model.d_model=30", "model.heads=6"}).find("even"),
            std::string::npos);
  EXPECT_NE(complaint({"model.kv_heads=4"}).find("does not divide"), std::string::npos);
}

TEST(ConfigResolve, RefusesMuonsMomentumInBf16) {
  EXPECT_EQ(complaint({"optimizer.state=bf16"}), "");
  EXPECT_NE(complaint({"optimizer.state=bf16", "optimizer.kind=muon"}).find("AdamW's two moments"),
            std::string::npos);
}

struct BatchCase {
  int64_t batch, context, slots, micro;  // 0 = auto
  int64_t want_slots, want_micro;
};

TEST(ConfigResolve, CutsTheStep) {
  const BatchCase cases[] = {
      {16384, 256, 0, 0, 8, 8},  // 64 sequences: 8 slots of 8, 2048 tokens
      {768, 64, 0, 0, 1, 12},    // 12 sequences: no two slots of 1024 tokens
      {2048, 64, 0, 0, 2, 16},   // 32 sequences: two slots of exactly 1024
      {12 * 1024, 1024, 0, 0, 6, 2},
      {7 * 2048, 2048, 0, 0, 7, 1},
      {13 * 1024, 1024, 0, 0, 1, 1},   // 13 is prime and 13 sequences exceed 4096 tokens
      {64 * 2048, 2048, 0, 0, 8, 2},   // 8 sequences a slot, 2 make 4096 tokens
      {8 * 65536, 65536, 0, 0, 8, 1},  // one sequence alone exceeds 4096 tokens
      {16384, 256, 3, 0, 0, 0},        // refused: 64 sequences in 3 slots
      {16384, 256, 16, 0, 16, 4},
      {16384, 256, 0, 32, 2, 32},  // a slot holds whole micro-batches
      {16384, 256, 4, 8, 4, 8},
  };
  for (const BatchCase& c : cases) {
    const std::vector<std::string> overrides = {
        "schedule.batch_tokens=" + std::to_string(c.batch),
        "model.context=" + std::to_string(c.context),
        "schedule.slots=" + (c.slots ? std::to_string(c.slots) : "auto"),
        "schedule.micro_batch=" + (c.micro ? std::to_string(c.micro) : "auto")};
    SCOPED_TRACE(overrides[0] + " " + overrides[1] + " " + overrides[2] + " " + overrides[3]);
    if (!c.want_slots) {
      EXPECT_NE(complaint(overrides), "");
      continue;
    }
    const RunConfig config = make(overrides);
    EXPECT_EQ(config.schedule.slots, c.want_slots);
    EXPECT_EQ(config.schedule.micro_batch, c.want_micro);
    EXPECT_EQ(c.batch % (config.schedule.slots * config.schedule.micro_batch * c.context), 0);
    const RunConfig again = resolved(config);
    EXPECT_EQ(again.schedule.slots, c.want_slots);
    EXPECT_EQ(again.schedule.micro_batch, c.want_micro);
  }
}

// As many as one rank would choose wherever every copy gets one: what one begins, others can share.
TEST(ConfigResolve, MoreCopiesThanUsualSlotsGetASlotEachWhereTheBatchAllows) {
  const auto slots = [](int64_t batch, int64_t copies) {
    RunConfig config = make({"model.context=64"});
    config.schedule.slots = config.schedule.micro_batch = 0;
    config.schedule.batch_tokens = batch;
    return resolved(config, copies).schedule.slots;
  };
  EXPECT_EQ(slots(16384, 1), 8);
  EXPECT_EQ(slots(16384, 3), 8);
  EXPECT_EQ(slots(2048, 1), 2);
  EXPECT_EQ(slots(2048, 2), 2);
  EXPECT_EQ(slots(2048, 3), 4);    // 32 sequences: 3 do not come out even
  EXPECT_EQ(slots(2048, 20), 32);  // nor do 20
  EXPECT_EQ(slots(2048, 40), 2);   // no more than there are sequences: refused by whoever starts it
  EXPECT_EQ(slots(1536, 12), 12);
}

TEST(ConfigResolve, ABatchThatDoesNotFitNamesTheNearest) {
  EXPECT_EQ(complaint({"schedule.batch_tokens=16000", "schedule.slots=8", "model.context=256"}),
            "schedule.batch_tokens = 16000 is not a multiple of 8 slots x context 256 = 2048; the "
            "nearest "
            "is 16384 (set schedule.batch_tokens=16384, the other neighbour is 14336)");
  EXPECT_NE(complaint({"schedule.batch_tokens=100", "model.context=256"}).find("batch_tokens=256"),
            std::string::npos);
  EXPECT_NE(complaint({"schedule.slots=1000000", "schedule.micro_batch=100000000",
                       "model.context=100000000"})
                .find("absurdly"),
            std::string::npos);
}

/// Parameters by the formulas of the papers, so that a misprinted shape shows.
int64_t paper_parameters(const ModelConfig& m) {
  const int64_t d = m.d_model, v = m.vocabulary, kv = m.kv_heads * m.head_dim;
  const int64_t gpt_blocks = m.layers * (12 * d * d + 13 * d) + 2 * d;
  if (m.arch == Arch::llama)
    return 2 * v * d + m.layers * (2 * d * d + 2 * d * kv + 3 * d * m.d_ff + 2 * d) + d;
  if (m.arch == Arch::pythia) return 2 * v * d + gpt_blocks;
  return v * d + m.context * d + gpt_blocks;
}

TEST(ConfigResolve, PresetsHaveThePublishedSizes) {
  const std::pair<const char*, int64_t> published[] = {
      {"cerebras-111m", 111'050'496},   {"cerebras-256m", 255'977'024},
      {"cerebras-590m", 590'310'912},   {"cerebras-1.3b", 1'315'723'264},
      {"cerebras-2.7b", 2'651'553'280}, {"cerebras-6.7b", 6'658'404'352},
      {"cerebras-13b", 12'853'386'240}, {"llama-7b", 6'738'415'616},
      {"llama-13b", 13'015'864'320},    {"llama-33b", 32'528'943'616},
      {"llama-65b", 65'285'660'672},    {"llama2-7b", 6'738'415'616},
      {"llama2-13b", 13'015'864'320},   {"llama2-70b", 68'976'648'192},
      {"llama3-8b", 8'030'261'248},     {"pythia-14m", 14'067'712},
      {"pythia-31m", 30'494'720},       {"pythia-70m", 70'426'624},
      {"pythia-160m", 162'322'944},     {"pythia-410m", 405'334'016},
      {"pythia-1b", 1'011'781'632},     {"pythia-1.4b", 1'414'647'808},
      {"pythia-2.8b", 2'775'208'960},   {"pythia-6.9b", 6'857'302'016},
      {"pythia-12b", 11'846'072'320},   {"gpt2-124m", 124'439'808},
      {"gpt2-1558m", 1'557'611'200},
  };
  for (const auto& [name, parameters] : published) {
    const ModelConfig model = make({std::string("model.preset=") + name}).model;
    EXPECT_EQ(paper_parameters(model), parameters) << name;
    EXPECT_EQ(parameter_count(make_param_table(model)), parameters) << name;
  }
  const std::pair<const char*, double> rounded[] = {
      {"gpt3-125m", 125.2},  {"gpt3-350m", 355.9},  {"gpt3-760m", 760.3},  {"gpt3-1.3b", 1315.7},
      {"gpt3-2.7b", 2651.6}, {"gpt3-6.7b", 6658.4}, {"gpt3-13b", 12853.4}, {"gpt3-175b", 174604.3}};
  for (const auto& [name, millions] : rounded) {
    const ModelConfig model = make({std::string("model.preset=") + name}).model;
    EXPECT_NEAR(static_cast<double>(paper_parameters(model)) / 1e6, millions, 0.051)
        << name;  // as printed
  }
}

TEST(ConfigResolve, PythiaTrainsOnThePublishedTokens) {
  Origins origins;
  const RunConfig config =
      resolved(load_config(std::nullopt, {"model.preset=pythia-160m"}, origins));
  EXPECT_EQ(config.schedule.batch_tokens * config.schedule.steps, 299'892'736'000);
  EXPECT_EQ(config.model.rotary_dim(), 16);
}

TEST(ConfigResolve, PlannedStepsAreThePublishedOnes) {
  // Dey et al. 2023, table 1: 20 tokens per parameter.
  const std::pair<const char*, int64_t> published[] = {
      {"cerebras-111m", 9'037},  {"cerebras-256m", 9'468},  {"cerebras-590m", 21'836},
      {"cerebras-1.3b", 24'334}, {"cerebras-2.7b", 49'041}, {"cerebras-6.7b", 62'522}};
  for (const auto& [name, steps] : published) {
    Origins origins;
    const RunConfig config =
        resolved(load_config(std::nullopt, {std::string("model.preset=") + name}, origins));
    EXPECT_EQ(planned_steps(config, paper_parameters(config.model)), steps) << name;
  }
  RunConfig config;
  config.schedule.tokens = 1;
  EXPECT_EQ(planned_steps(config, 1), 1);
}

TEST(ConfigResolve, EveryPresetLoadsAndItsUnknownNeighbourIsSuggested) {
  for (const std::string& name : preset_names()) {
    Origins origins;
    EXPECT_NO_THROW(resolved(load_config(std::nullopt, {"model.preset=" + name}, origins))) << name;
  }
  EXPECT_NE(complaint({"model.preset=gpt3-126m"}).find("did you mean gpt3-125m?"),
            std::string::npos);
}

}  // namespace
}  // namespace isoflop
