// A model is traced twice; what is broken in between must be named.
#include "export/verify.hpp"

#include "pretrain/fold.hpp"
#include "tests/export/small_models.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

using test::small_model;
using test::SmallModel;

ModelTrace trace(const SmallModel& model) {
  const auto backend = make_reference_backend(DType::f32);
  return trace_model(model.config, model.table, model.parameters, *backend, 12);
}

TraceComparison compare(const SmallModel& model, const ModelTrace& a, const ModelTrace& b) {
  return compare_traces(a, b, model.config, trace_tolerance(DType::f32));
}

TEST(Verify, NamesTheFirstActivationThatDiffers) {
  const struct {
    Arch arch;
    const char *broken, *first;
  } cases[] = {{Arch::gpt3, "embedding.weight", "blocks.0.x"},
               {Arch::gpt3, "blocks.1.attention.qkv.weight", "blocks.1.qkv"},
               {Arch::gpt3, "blocks.0.attention.out.bias", "blocks.0.h"},
               {Arch::pythia, "blocks.1.mlp.up.weight", "blocks.1.up"},
               {Arch::pythia, "blocks.0.mlp.down.weight", "blocks.1.x"},
               {Arch::llama, "blocks.0.norm2.weight", "blocks.0.n2"},
               {Arch::llama, "blocks.1.mlp.gate.weight", "blocks.1.gate"},
               {Arch::llama, "head.weight", "logits"}};
  for (const auto& [arch, broken, first] : cases) {
    SmallModel model(small_model(arch, false, false));
    const ModelTrace whole = trace(model);
    EXPECT_EQ(compare(model, whole, trace(model)).first, "");
    model.find(broken)[3] += 1;
    // The token that the changed row belongs to may not occur: change the whole table.
    if (std::string(broken) == "embedding.weight")
      for (int64_t i = 0; i < 264 * 32; i += 7) model.find(broken)[i] += 1;
    const TraceComparison comparison = compare(model, whole, trace(model));
    EXPECT_EQ(comparison.first, first) << broken;
    EXPECT_GT(comparison.error, trace_tolerance(DType::f32));
    EXPECT_GT(comparison.logit_difference, 0);
  }
}

TEST(Verify, FoldedMultipliersAreNoDifference) {
  const SmallModel model(small_model(Arch::llama, false, true));
  SmallModel folded(model.config);
  for (const auto& spec : model.table) {
    const int64_t count = (spec.fold_rows > 0 ? spec.fold_rows : spec.rows) * spec.cols;
    for (int64_t i = 0; i < count; ++i)
      folded.find(spec.name)[i] *= static_cast<float>(fold_factor(model.config, spec.fold));
  }
  ModelConfig& c = folded.config;
  c.embedding_multiplier = c.residual_multiplier = 1;
  c.output_multiplier = c.attention_multiplier = 1;
  const TraceComparison comparison = compare(model, trace(model), trace(folded));
  EXPECT_EQ(comparison.first, "");
  EXPECT_GT(comparison.logit_difference, 0);  // other roundings
}

}  // namespace
}  // namespace isoflop
