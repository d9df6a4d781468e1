// A model written to GGUF and read back is the same model, multipliers folded away; and what the
// file says about itself.
#include "export/gguf_export.hpp"

#include "core/rng.hpp"
#include "datasets/tokenizer/make_tokenizer.hpp"
#include "ops/reference/backend.hpp"
#include "pretrain/gguf_import.hpp"
#include "pretrain/gguf_names.hpp"
#include "pretrain/gguf_recipe.hpp"
#include "pretrain/model/model.hpp"
#include "pretrain/weight_grid.hpp"
#include "tests/export/small_models.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace isoflop {
namespace {

ModelConfig small(Arch arch, bool tied, bool multipliers) {
  return test::small_model(arch, tied, multipliers);
}

struct Source : test::SmallModel {
  using test::SmallModel::SmallModel;
  ExportReport write(const std::string& type, const fs::path& out, int threads = 2) const {
    ThreadTeam team(threads);
    return export_gguf({config, table, parameters, *tokenizer, type, "small"}, out, team);
  }
  float* find(const std::string& name) {
    return parameters[static_cast<size_t>(find_param(table, name))].as<float>();
  }
};

std::vector<float> token_losses(const ModelConfig& config,
                                const ParamTable& table,
                                const ParamBuffer& parameters) {
  const auto backend = make_reference_backend(DType::f32);
  std::vector<int32_t> tokens, targets;
  for (uint64_t i = 0; i < 32; ++i) {
    tokens.push_back(static_cast<int32_t>(philox(7, 1, i)[0] % 260));
    targets.push_back(static_cast<int32_t>(philox(7, 2, i)[0] % 260));
  }
  Model model(config, table, parameters, *backend, {.tokens = 32, .training = false});
  model.evaluate({2, 16, tokens, targets});
  const View losses = model.losses();
  std::vector<float> result;
  for (int64_t i = 0; i < losses.rows; ++i)
    result.push_back(static_cast<float>(load_scalar(losses, i, 0)));
  return result;
}

std::vector<float> token_losses(const fs::path& file) {
  const GgufModel gguf(file);
  const ParamTable table = make_param_table(gguf.config());
  ParamBuffer parameters(table, DType::f32, "test");
  ThreadTeam team(2);
  gguf.read_parameters(table, parameters, team);
  return token_losses(gguf.config(), table, parameters);
}

struct Case {
  Arch arch;
  bool tied;
};
class EveryModelToGguf : public ::testing::TestWithParam<Case> {
 protected:
  test::TempDir folder_;
  fs::path file_ = folder_.path() / "model.gguf";
};

INSTANTIATE_TEST_SUITE_P(Models,
                         EveryModelToGguf,
                         ::testing::Values(Case{Arch::gpt3, true},
                                           Case{Arch::gpt3, false},
                                           Case{Arch::pythia, true},
                                           Case{Arch::pythia, false},
                                           Case{Arch::llama, true},
                                           Case{Arch::llama, false}),
                         [](const auto& param_info) {
                           return std::string(name_of(param_info.param.arch)) +
                                  (param_info.param.tied ? "Tied" : "Untied");
                         });

TEST_P(EveryModelToGguf, AModelOnTheGridIsInItsFileAsItIs) {
  Source source(small(GetParam().arch, GetParam().tied, true));
  const Source masters(source.config);
  ThreadTeam team(2);
  const WeightGrid grid(*find_grid_recipe("q4_0"), source.config, source.table);
  grid.round(source.parameters, team);
  const auto export_as = [&](const Source& model, const fs::path& out) {
    export_gguf({.model = model.config,
                 .table = model.table,
                 .parameters = model.parameters,
                 .tokenizer = *model.tokenizer,
                 .type = "q4_0",
                 .name = "small",
                 .grid = "q4_0"},
                out, team);
    return token_losses(out);
  };
  const std::vector<float> losses = export_as(source, file_);
  const std::vector<float> trained = token_losses(source.config, source.table, source.parameters);
  for (size_t i = 0; i < losses.size(); ++i) EXPECT_NEAR(losses[i], trained[i], 2e-5) << i;
  // Weights off the grid end on it.
  EXPECT_EQ(export_as(masters, folder_.path() / "masters.gguf"), losses);
  EXPECT_EQ(read_file(folder_.path() / "masters.gguf"), read_file(file_));
  if (GetParam().tied && GetParam().arch != Arch::pythia) return;
  // The recipe of a runtime has other embeddings.
  source.write("q4_0", folder_.path() / "plain.gguf");
  EXPECT_NE(token_losses(folder_.path() / "plain.gguf"), losses);
}

TEST_P(EveryModelToGguf, OneParameterAtATimeIsTheSameFile) {
  Source(small(GetParam().arch, GetParam().tied, true)).write("f32", file_);
  const auto source = open_model(file_);
  const ParamTable table = make_param_table(source->config());
  const auto tokenizer = source->tokenizer();
  ParamBuffer parameters(table, DType::f32, "test");
  ThreadTeam team(2);
  source->read_parameters(table, parameters, team);
  export_gguf({source->config(), table, parameters, *tokenizer, "q4_0", "small"},
              folder_.path() / "whole.gguf", team);
  const ParamBuffer none{};
  export_gguf({.model = source->config(),
               .table = table,
               .parameters = none,
               .tokenizer = *tokenizer,
               .type = "q4_0",
               .name = "small",
               .source = source.get()},
              folder_.path() / "one.gguf", team);
  EXPECT_EQ(read_file(folder_.path() / "one.gguf"), read_file(folder_.path() / "whole.gguf"));
}

TEST_P(EveryModelToGguf, F32WithoutMultipliersIsTheSameParameters) {
  const Source source(small(GetParam().arch, GetParam().tied, false));
  const ExportReport report = source.write("f32", file_);
  EXPECT_EQ(report.file_bytes, fs::file_size(file_));
  const bool written_twice = GetParam().arch == Arch::pythia && GetParam().tied;
  if (!written_twice) {
    EXPECT_DOUBLE_EQ(report.bits_per_weight(), 32);
  }

  const GgufModel gguf(file_);
  const ModelConfig& c = gguf.config();
  EXPECT_EQ(c.arch, source.config.arch);
  // gptneox files hold the output matrix in any case.
  const bool split = c.arch == Arch::pythia && source.config.tied_embeddings;
  EXPECT_EQ(c.tied_embeddings, source.config.tied_embeddings && !split);
  EXPECT_EQ(c.context, source.config.context);
  EXPECT_EQ(c.kv_heads, source.config.kv_heads);
  EXPECT_EQ(c.norm_eps, 1e-5);
  EXPECT_EQ(c.vocabulary, 264);
  EXPECT_EQ(gguf.name(), "small");
  EXPECT_EQ(gguf.tokenizer()->to_json(), source.tokenizer->to_json());

  const ParamTable table = make_param_table(c);
  ASSERT_EQ(table.size(), source.table.size() + (split ? 1 : 0));
  ParamBuffer parameters(table, DType::f32, "test");
  ThreadTeam team(2);
  gguf.read_parameters(table, parameters, team);
  for (size_t i = 0; i < table.size(); ++i) {
    const std::string from =
        split && table[i].name == "head.weight" ? "embedding.weight" : table[i].name;
    const int source_index = find_param(source.table, from);
    ASSERT_GE(source_index, 0) << from;
    EXPECT_EQ(std::memcmp(parameters[i].data, source.parameters[source_index].data,
                          parameters[i].bytes()),
              0)
        << table[i].name;
  }
}

// Two F32 forward passes whose products are scaled at different places: losses of about 6 to 1e-5.
TEST_P(EveryModelToGguf, MultipliersFoldAway) {
  const Source source(small(GetParam().arch, GetParam().tied, true));
  source.write("f32", file_);
  const auto expected = token_losses(source.config, source.table, source.parameters);
  const auto folded = token_losses(file_);
  ModelConfig plain = source.config;
  plain.embedding_multiplier = plain.residual_multiplier = 1;
  plain.output_multiplier = plain.attention_multiplier = 1;
  const auto unfolded = token_losses(plain, source.table, source.parameters);
  double difference = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(folded[i], expected[i], 1e-4) << i;
    difference += std::fabs(unfolded[i] - expected[i]) / static_cast<double>(expected.size());
  }
  EXPECT_GT(difference, 0.1);  // else this test shows nothing
}

TEST_P(EveryModelToGguf, QuantizedModelsStayClose) {
  const Source source(small(GetParam().arch, GetParam().tied, true));
  const auto expected = token_losses(source.config, source.table, source.parameters);
  // Relative weight errors: F16 2^-11, Q8_0 0.4 %, Q4_0 7 %, into losses of about 6 with logits
  // of 1; the others lie between by their bits. Rows of 32 and 64 turn K types into their
  // fall-backs of 32.
  for (const auto& [type, bound] : {std::pair{"f16", 5e-3},
                                    {"bf16", 5e-2},
                                    {"q8_0", 5e-2},
                                    {"q4_0", 0.8},
                                    {"q4_1", 0.8},
                                    {"q5_0", 0.4},
                                    {"q5_1", 0.4},
                                    {"q4_k_s", 0.4},
                                    {"q4_k_m", 0.4},
                                    {"q5_k_s", 0.4},
                                    {"q5_k_m", 0.4},
                                    {"q6_k", 5e-2}}) {
    const ExportReport report = source.write(type, file_);
    const auto losses = token_losses(file_);
    double mean = 0;
    for (size_t i = 0; i < losses.size(); ++i)
      mean += std::fabs(losses[i] - expected[i]) / static_cast<double>(losses.size());
    EXPECT_LT(mean, bound) << type;
    EXPECT_GT(mean, 0) << type;
  }
}

TEST_P(EveryModelToGguf, BytesDoNotDependOnThreads) {
  const Source source(small(GetParam().arch, GetParam().tied, true));
  source.write("q4_0", file_, 1);
  source.write("q4_0", folder_.path() / "three.gguf", 3);
  EXPECT_EQ(read_file(file_), read_file(folder_.path() / "three.gguf"));
}

TEST_P(EveryModelToGguf, Q4FileHasTheTypesAndKeysThatRuntimesWant) {
  const auto [arch, tied] = GetParam();
  const Source source(small(arch, tied, false));
  source.write("Q4_0", file_);
  const GgufFile file(file_);
  for (const GgufTensor& tensor : file.tensors()) {
    // Q6_K's block divides no row of 32: its fall-back is Q8_0.
    const bool separate = !tied || arch == Arch::pythia;
    const bool output = tensor.name == (separate ? gguf::kOutput : gguf::kTokenEmbedding);
    const bool plain = tensor.dims.size() == 1 || tensor.name == gguf::kPositionEmbedding;
    EXPECT_EQ(tensor.codec->name, plain ? "F32" : output ? "Q8_0" : "Q4_0") << tensor.name;
  }
  EXPECT_EQ(file.tensors()[0].name, gguf::kTokenEmbedding);
  EXPECT_EQ(file.text(gguf::kArchitecture), gguf::ModelKeys(arch).architecture);
  EXPECT_EQ(file.u32(gguf::kFileType), 2u);
  EXPECT_EQ(file.u32(gguf::kQuantizationVersion), 2u);
  EXPECT_EQ(file.text(gguf::kType), "model");
  EXPECT_EQ(file.text("tokenizer.ggml.pre"), "gpt-2");
  EXPECT_EQ(file.u32("tokenizer.ggml.bos_token_id"), 0u);
  EXPECT_EQ(file.u32("tokenizer.ggml.eos_token_id"), 0u);
  EXPECT_FALSE(file.boolean("tokenizer.ggml.add_bos_token"));
  EXPECT_FALSE(file.boolean("tokenizer.ggml.add_eos_token"));
  EXPECT_EQ(file.texts("tokenizer.ggml.tokens").size(), 264u);
  EXPECT_EQ(file.texts("tokenizer.ggml.tokens").back(), "[PAD3]");
  EXPECT_EQ(file.i32s("tokenizer.ggml.token_type").front(), gguf::kControlToken);
  EXPECT_EQ(file.i32s("tokenizer.ggml.token_type").back(), gguf::kUnusedToken);
  if (arch == Arch::llama) {
    EXPECT_EQ(file.u32("llama.rope.dimension_count"), 8u);
    EXPECT_EQ(file.f32("llama.attention.layer_norm_rms_epsilon"), 1e-5f);
  } else if (arch == Arch::pythia) {
    EXPECT_EQ(file.u32("gptneox.rope.dimension_count"), 2u);
    EXPECT_TRUE(file.boolean("gptneox.use_parallel_residual"));
    EXPECT_EQ(file.f32("gptneox.attention.layer_norm_epsilon"), 1e-5f);
    EXPECT_TRUE(file.find_tensor(gguf::kOutput)) << "runtimes know no tied gptneox";
  } else {
    EXPECT_EQ(file.f32("gpt2.attention.layer_norm_epsilon"), 1e-5f);
  }
}

// A model without biases is one whose biases are zero, which is how the file holds it.
TEST_P(EveryModelToGguf, AbsentBiasesAreWrittenAsZeros) {
  ModelConfig config = small(GetParam().arch, GetParam().tied, true);
  config.biases = false;
  const Source source(config);
  source.write("f32", file_);
  const auto expected = token_losses(source.config, source.table, source.parameters);
  const auto read = token_losses(file_);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(read[i], expected[i], 1e-4) << i;
}

/// Per-token losses agree after the round trip, and would not without the scaling.
void expect_scaling_travels(ModelConfig config, const fs::path& file) {
  const Source source(config);
  source.write("f32", file);
  EXPECT_EQ(GgufModel(file).config().rope_scaling, config.rope_scaling);
  EXPECT_EQ(GgufModel(file).config().rope_scaling_factor, config.rope_scaling_factor);
  const auto expected = token_losses(source.config, source.table, source.parameters);
  const auto read = token_losses(file);
  config.rope_scaling = "none";
  const auto unscaled = token_losses(config, source.table, source.parameters);
  double difference = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(read[i], expected[i], 1e-4) << i;
    difference += std::fabs(unscaled[i] - expected[i]);
  }
  EXPECT_GT(difference, 1e-3) << "the scaling has no effect here";
}

TEST_P(EveryModelToGguf, LinearRotaryScalingTravels) {
  ModelConfig config = small(GetParam().arch, GetParam().tied, false);
  if (!has_rope(config.arch)) GTEST_SKIP() << "no rotation in " << name_of(config.arch);
  config.rope_scaling = "linear";
  config.rope_scaling_factor = 4;
  expect_scaling_travels(config, file_);
}

TEST_P(EveryModelToGguf, Llama3RotaryScalingTravelsWhereTheArchitectureHasIt) {
  ModelConfig config = small(GetParam().arch, GetParam().tied, false);
  if (!has_rope(config.arch)) GTEST_SKIP() << "no rotation in " << name_of(config.arch);
  config.rope_base = 700;  // one of the four pairs lies on the ramp
  config.rope_scaling = "llama3";
  config.rope_scaling_factor = 8;
  config.rope_original_context = 512;
  if (!is_llama(config.arch)) {
    EXPECT_THROW(Source(config).write("f32", file_), UserError);
    return;
  }
  expect_scaling_travels(config, file_);
  EXPECT_EQ(GgufModel(file_).config().rope_original_context, 512);
}

class ExportToGguf : public ::testing::Test {
 protected:
  test::TempDir folder_;
  fs::path file_ = folder_.path() / "model.gguf";
};

TEST_F(ExportToGguf, RowsThatNoBlockDividesBecomeF16AndAreReported) {
  ModelConfig config = small(Arch::gpt3, true, false);
  config.d_model = 40;
  config.head_dim = 10;
  const ExportReport report = Source(config).write("q4_0", file_);
  const GgufFile file(file_);
  EXPECT_EQ(file.find_tensor("blk.0.ffn_up.weight")->codec->name, "F16");
  EXPECT_EQ(file.find_tensor("token_embd.weight")->codec->name, "F16");
  EXPECT_EQ(file.find_tensor("blk.0.ffn_down.weight")->codec->name, "Q4_0");  // rows of 64
  ASSERT_EQ(report.notes.size(), 2u);
  EXPECT_NE(report.notes[0].find("6 tensor(s) become F16 because Q4_0 needs rows of a multiple of "
                                 "32 values (first: blk.0.attn_qkv.weight with 40)"),
            std::string::npos)
      << report.notes[0];
  EXPECT_NE(report.notes[1].find("1 tensor(s) become F16 because Q6_K"), std::string::npos)
      << report.notes[1];
}

TEST_F(ExportToGguf, RefusesWhatTheFileCannotHoldAndLeavesNothing) {
  Source source(small(Arch::gpt3, true, false));
  source.find("blocks.1.mlp.up.weight")[70] = std::numeric_limits<float>::quiet_NaN();
  try {
    source.write("f32", file_);
    FAIL() << "a NaN was exported";
  } catch (const UserError& e) {
    EXPECT_NE(std::string(e.what()).find("blk.1.ffn_up.weight holds nan at row 2, column 6"),
              std::string::npos)
        << e.what();
  }
  source.find("blocks.1.mlp.up.weight")[70] = 70000;
  EXPECT_THROW(source.write("q4_0", file_), UserError);
  EXPECT_THROW(source.write("f16", file_), UserError);
  EXPECT_TRUE(fs::is_empty(folder_.path()));
  EXPECT_NO_THROW(source.write("f32", file_));
  EXPECT_THROW(source.write("q9", file_), UserError);
}

TEST_F(ExportToGguf, ImportanceReachesTheBlocksOfTheTensorsItHas) {
  const Source source(small(Arch::gpt3, true, false));
  ImportanceMatrix importance;
  importance.origin = "some.gguf";
  importance.chunks = 7;
  auto& inputs = importance.inputs["blk.1.ffn_up.weight"];
  for (int c = 0; c < 32; ++c) inputs.sums.push_back(static_cast<float>(c % 5));
  inputs.count = 2;
  ThreadTeam team(2);
  const auto write = [&](const ImportanceMatrix* matrix, const fs::path& file) {
    export_gguf({source.config, source.table, source.parameters, *source.tokenizer, "q4_0", "small",
                 matrix},
                file, team);
  };
  write(&importance, file_);
  write(nullptr, folder_.path() / "plain.gguf");
  const GgufFile weighted(file_), plain(folder_.path() / "plain.gguf");
  EXPECT_EQ(weighted.text("quantize.imatrix.file"), "some.gguf");
  EXPECT_EQ(weighted.u32("quantize.imatrix.entries_count"), 1u);
  EXPECT_EQ(weighted.u32("quantize.imatrix.chunks_count"), 7u);
  const auto bytes = [](const GgufFile& file, const char* tensor) {
    const auto data = file.find_tensor(tensor)->data;
    return std::vector<std::byte>(data.begin(), data.end());
  };
  EXPECT_EQ(bytes(weighted, "blk.0.ffn_up.weight"), bytes(plain, "blk.0.ffn_up.weight"));
  const float* values =
      source.parameters[find_param(source.table, "blocks.1.mlp.up.weight")].as<float>();
  const std::vector<float> means = importance.of("blk.1.ffn_up.weight", 32);
  std::vector<std::byte> expected(64 * 18);
  for (int row = 0; row < 64; ++row)
    block_codec(BlockType::q4_0)
        .quantize_weighted(values + row * 32, 32, means.data(), expected.data() + row * 18);
  EXPECT_EQ(bytes(weighted, "blk.1.ffn_up.weight"), expected);
  EXPECT_NE(bytes(weighted, "blk.1.ffn_up.weight"), bytes(plain, "blk.1.ffn_up.weight"));
  inputs.sums.pop_back();
  EXPECT_THROW(write(&importance, file_), UserError);
}

TEST_F(ExportToGguf, RefusesWeightsThatF16CannotResolve) {
  Source source(small(Arch::gpt3, true, false));
  float* values = source.find("blocks.1.mlp.up.weight");
  for (int i = 0; i < 64 * 32; ++i) values[i] *= 1e-6f;
  for (const char* type : {"f16", "q8_0", "q4_0"}) {
    try {
      source.write(type, file_);
      FAIL() << type;
    } catch (const UserError& e) {
      EXPECT_NE(std::string(e.what()).find("blk.1.ffn_up.weight holds nothing above"),
                std::string::npos)
          << e.what();
    }
  }
  EXPECT_TRUE(fs::is_empty(folder_.path()));
  EXPECT_NO_THROW(source.write("f32", file_));
  EXPECT_NO_THROW(source.write("bf16", file_));
}

// NaN and infinity are refused for every type, whatever its quantizer would make of them.
TEST_F(ExportToGguf, EveryTypeRefusesWhatIsNoNumber) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    Source source(small(Arch::llama, true, false));
    source.find("blocks.0.mlp.up.weight")[40] = bad;
    for (const std::string& type : gguf_recipe_names())
      EXPECT_THROW(source.write(type, file_), UserError) << type << " " << bad;
  }
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_F(ExportToGguf, RefusesModelsThatTheArchitecturesCannotExpress) {
  ModelConfig config = small(Arch::gpt3, true, false);
  config.head_dim = 16;
  EXPECT_THROW(Source(config).write("f32", file_), UserError);
  config = small(Arch::llama, true, false);
  config.head_dim = 16;  // llama can
  EXPECT_NO_THROW(Source(config).write("f32", file_));
  EXPECT_EQ(GgufModel(file_).config().head_dim, 16);
  config = small(Arch::gpt3, true, false);
  config.vocabulary = 200;  // fewer rows than tokens
  EXPECT_THROW(Source(config).write("f32", file_), UserError);
}

TEST_F(ExportToGguf, NotesThatErfGeluIsNotWhatRuntimesCompute) {
  ModelConfig config = small(Arch::gpt3, true, false);
  config.gelu = "erf";
  EXPECT_EQ(Source(config).write("f32", file_).notes.size(), 1u);
}

TEST(GgufRecipe, NamesAreFoundWithoutRegardToCase) {
  EXPECT_EQ(find_gguf_recipe("Q8_0").file_type, 7u);
  EXPECT_THROW(find_gguf_recipe(""), UserError);
}

/// The types of a tensor of `layers` blocks, a digit each: Q4_K 4, Q5_K 5, Q6_K 6.
std::string types_by_layer(const char* recipe, const char* tensor, int64_t layers) {
  std::string result;
  for (int64_t block = 0; block < layers; ++block) {
    const BlockChoice choice =
        choose_block_type(find_gguf_recipe(recipe), {.layers = layers},
                          fmt::format("blk.{}.{}", block, tensor), block, {256, 256});
    result += block_codec(choice.type).name[1];
  }
  return result;
}

// Facts of the runtime's quantizer: which layers its mixed recipes spend more on.
TEST(GgufRecipe, MixedRecipesFavourTheLayersThatTheRuntimeDoes) {
  EXPECT_EQ(types_by_layer("q4_k_m", "ffn_down.weight", 12), "644644644666");
  EXPECT_EQ(types_by_layer("q4_k_m", "attn_v.weight", 12), "644644644666");
  EXPECT_EQ(types_by_layer("q4_k_m", "attn_qkv.weight", 12), "644644644666");
  EXPECT_EQ(types_by_layer("q4_k_m", "attn_q.weight", 12), "444444444444");
  EXPECT_EQ(types_by_layer("q4_k_m", "ffn_up.weight", 12), "444444444444");
  EXPECT_EQ(types_by_layer("q5_k_m", "ffn_down.weight", 6), "556556");
  EXPECT_EQ(types_by_layer("q4_k_s", "attn_v.weight", 12), "555544444444");
  EXPECT_EQ(types_by_layer("q4_k_s", "ffn_down.weight", 16), "5544444444444444");
  EXPECT_EQ(types_by_layer("q5_k_s", "ffn_down.weight", 16), std::string(16, '5'));
  EXPECT_EQ(types_by_layer("q6_k", "attn_v.weight", 4), "6666");
}

TEST(GgufRecipe, ImportanceAndSharedValuesChangeTheRules) {
  const auto type = [](const char* recipe, RecipeContext context, const char* tensor) {
    context.layers = 80;
    return choose_block_type(find_gguf_recipe(recipe), context, tensor, 1, {256, 256}).type;
  };
  EXPECT_EQ(type("q4_0", {.weighted = true}, "blk.1.ffn_down.weight"), BlockType::q4_1);
  EXPECT_EQ(type("q5_0", {.weighted = true}, "blk.1.ffn_down.weight"), BlockType::q5_1);
  EXPECT_EQ(type("q4_0", {}, "blk.1.ffn_down.weight"), BlockType::q4_0);
  EXPECT_EQ(type("q5_k_m", {.shares_values = true}, "blk.1.attn_v.weight"), BlockType::q6_k);
  EXPECT_EQ(type("q4_k_s", {.shares_values = true}, "blk.1.attn_v.weight"), BlockType::q5_k);
  EXPECT_EQ(type("q4_k_m", {.has_output = true}, "token_embd.weight"), BlockType::q4_k);
  EXPECT_EQ(type("q4_k_m", {.has_output = true}, "output.weight"), BlockType::q6_k);
  EXPECT_EQ(type("q4_k_m", {}, "token_embd.weight"), BlockType::q6_k);
}

TEST(GgufRecipe, RowsThatNoBlockDividesGetTheRuntimesFallBacks) {
  const auto type = [](const char* recipe, int64_t width) {
    return choose_block_type(find_gguf_recipe(recipe), {.layers = 32}, "blk.9.ffn_up.weight", 9,
                             {width, 256})
        .type;
  };
  EXPECT_EQ(type("q4_k_m", 576), BlockType::q5_0);
  EXPECT_EQ(type("q5_k_m", 576), BlockType::q5_1);
  EXPECT_EQ(type("q6_k", 576), BlockType::q8_0);
  EXPECT_EQ(type("q4_k_m", 200), BlockType::f16);
  EXPECT_EQ(type("q8_0", 200), BlockType::f16);
}

TEST(GgufRecipe, AdviceNamesTheWidthsThatCostBits) {
  ModelConfig config = small(Arch::llama, true, false);
  config.d_model = 512;
  config.d_ff = 1536;
  EXPECT_TRUE(quantization_advice(config).empty());
  config.d_ff = 1376;
  const auto advice = quantization_advice(config);
  ASSERT_EQ(advice.size(), 1u);
  EXPECT_NE(advice[0].find("d_ff = 1376 will not"), std::string::npos) << advice[0];
  config.d_model = 200;
  EXPECT_EQ(quantization_advice(config).size(), 2u);
}

}  // namespace
}  // namespace isoflop
