#include "pretrain/gguf_recipe.hpp"

#include "pretrain/config/load.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/architecture.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

ModelConfig model_of(std::vector<std::string> settings) {
  Origins origins;
  settings.emplace_back("schedule.steps=1");
  ModelConfig model = resolved(load_config(std::nullopt, settings, origins)).model;
  model.biases = true;  // files of gpt2 and gptneox have them
  return model;
}

/// MiB of all tensors of the model's file.
double mib_of(const ModelConfig& model, const char* recipe) {
  double bytes = 0;
  for (const ParamSpec& spec : make_param_table(model))
    for (const ForeignName& foreign : spec.gguf) {
      const int64_t rows = foreign.row_count > 0 ? foreign.row_count : spec.rows;
      const std::vector<int64_t> dims =
          spec.is_vector() ? std::vector{spec.size()} : std::vector{spec.cols, rows};
      const BlockChoice choice =
          choose_block_type(find_gguf_recipe(recipe), recipe_context(model, false), foreign.name,
                            spec.stage_block, dims);
      const int64_t values =
          spec.is_vector() && foreign.row_count > 0 ? foreign.row_count : rows * spec.cols;
      bytes += static_cast<double>(block_codec(choice.type).bytes_for(values));
    }
  return bytes / (1024.0 * 1024.0);
}

constexpr const char* kRecipes[] = {"q4_0", "q4_k_s", "q4_k_m", "q5_k_m", "q6_k", "q8_0"};

// What a dry run of llama.cpp's own llama-quantize (34af94c, August 2026) says of published shapes,
// in MiB. A fused matrix of queries, keys and values under another type would miss by several.
TEST(GgufRecipe, WholeFilesHaveTheSizesOfTheRuntimesOwn) {
  const struct {
    std::vector<std::string> model;
    double mib[std::size(kRecipes)];
    double tolerance;  // of its digits, some of which were rounded twice
  } files[] = {{{"model.preset=gpt2-124m"}, {79.2, 80.4, 85.3, 92.5, 100.1, 128.6}, 0.06},
               {{"model.preset=pythia-160m"}, {97.0, 98.1, 103.1, 114.8, 127.4, 164.8}, 0.06},
               {{"model.preset=gpt2-355m"}, {207.5, 210.5, 229.1, 254.6, 281.7, 363.4}, 0.06},
               {{"model.preset=pythia-410m"}, {231.2, 234.2, 252.8, 284.5, 318.1, 411.6}, 0.06},
               {{"model.preset=pythia-1.4b"}, {786, 798, 873, 987, 1109, 1435}, 0.51},
               {{"model.arch=llama", "model.layers=22", "model.d_model=2048", "model.heads=32",
                 "model.d_ff=5632", "model.vocabulary=32000", "model.context=2048",
                 "model.tied_embeddings=false"},
                {693, 698, 732, 856, 987, 1279},
                0.51}};
  for (const auto& [settings, mib, tolerance] : files)
    for (size_t i = 0; i < std::size(kRecipes); ++i)
      EXPECT_NEAR(mib_of(model_of(settings), kRecipes[i]), mib[i], tolerance)
          << settings.front() << " " << kRecipes[i];
}

}  // namespace
}  // namespace isoflop
