// A rank that shares matrices rounds its part as the whole matrix would have been rounded.
#include "pretrain/weight_grid.hpp"

#include "core/error.hpp"
#include "parallel/tensor_cut.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/model/parts.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace isoflop {
namespace {

ModelConfig model_of(Arch arch, bool tied) {
  ModelConfig m;
  m.arch = arch;
  m.layers = 2;
  m.d_model = 64;
  m.heads = 4;
  m.kv_heads = arch == Arch::llama ? 2 : 4;
  m.head_dim = 16;
  m.rotary_fraction = arch == Arch::gpt3 ? 0 : 1;
  m.d_ff = 64;
  m.context = 24;
  m.vocabulary = 101;  // uneven parts
  m.tied_embeddings = tied;
  m.residual_multiplier = 0.3;
  m.attention_multiplier = 0.7;
  m.output_multiplier = 1.7;
  return m;
}

TEST(WeightGrid, OfAPartIsThePartOfTheWholeGrid) {
  const GgufRecipe& recipe = *find_grid_recipe("q4_0");
  ThreadTeam team(2);
  for (const Arch arch : {Arch::gpt3, Arch::pythia, Arch::llama})
    for (const bool tied : {false, true}) {
      const ModelConfig model = model_of(arch, tied);
      const ParamTable table = make_param_table(model);
      ParamBuffer whole(table, DType::f32, "parameters");
      initialize_parameters(table, 7, whole);
      for (int part = 0; part < 2; ++part) {
        ParamBuffer masters(cut_table(table, part, 2), DType::f32, "a part");
        for (size_t i = 0; i < table.size(); ++i)
          take_part(whole[i], masters[i], cut_of(table[i], part, 2));
        ParamBuffer expected = masters.twin_on_host("expected");
        ParamBuffer rounded = whole.twin_on_host("the whole, rounded");
        std::memcpy(rounded.flat().data, whole.flat().data, whole.bytes());
        WeightGrid(recipe, model, table).round(rounded, team);
        ASSERT_NE(std::memcmp(rounded.flat().data, whole.flat().data, whole.bytes()), 0);
        for (size_t i = 0; i < table.size(); ++i)
          take_part(rounded[i], expected[i], cut_of(table[i], part, 2));
        WeightGrid(recipe, model, table, part, 2).round(masters, team);
        for (size_t i = 0; i < table.size(); ++i)
          EXPECT_EQ(std::memcmp(masters[i].data, expected[i].data, masters[i].bytes()), 0)
              << table[i].name << ", part " << part;
      }
    }
}

TEST(WeightGrid, ACutThroughABlockIsRefusedByName) {
  RunConfig config;
  config.model = model_of(Arch::llama, true);
  config.schedule.quantize = "q4_0";
  config.output.layer_stats_every = 0;
  config.parallel.tp = 2;
  require_parts(config);
  config.model.d_ff = 96;
  try {
    require_parts(config);
    FAIL() << "48 of 96 inputs are no whole blocks";
  } catch (const UserError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("parallel.tp = 2 gives a rank 48 of the 96 of blocks."),
              std::string::npos)
        << message;
  }
  config.schedule.quantize = "none";
  require_parts(config);
}

}  // namespace
}  // namespace isoflop
