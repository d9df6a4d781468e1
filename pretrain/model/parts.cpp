#include "pretrain/model/parts.hpp"

#include "core/error.hpp"
#include "parallel/tensor_cut.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/weight_grid.hpp"

#include <numeric>

namespace isoflop {

ModelConfig part_of_model(const ModelConfig& config, int part, int parts) {
  ModelConfig mine = config;
  if (parts == 1) return mine;
  mine.heads /= parts;
  mine.kv_heads /= parts;
  mine.d_ff /= parts;
  mine.vocabulary = part_of(config.vocabulary, part, parts).count;
  return mine;
}

int64_t part_messages(const ModelConfig& config) {
  return config.arch == Arch::pythia ? 8 : 10;
}

void require_parts(const RunConfig& config) {
  const int64_t tp = config.parallel.tp;
  const ModelConfig& m = config.model;
  if (tp == 1) return;
  const int64_t most = std::gcd(std::gcd(m.heads, m.kv_heads), m.d_ff);
  const auto require = [&](const char* key, int64_t size) {
    if (size % tp != 0)
      fail_user(
          "{} = {} cannot be shared evenly by parallel.tp = {} ranks; this model takes tp = {} at "
          "most, or a divisor of that",
          key, size, tp, most);
  };
  require("model.heads", m.heads);
  require("model.kv_heads", m.kv_heads);
  require("model.d_ff", m.d_ff);
  if (m.vocabulary < tp)
    fail_user("model.vocabulary = {} has no row for each of parallel.tp = {} ranks", m.vocabulary,
              tp);
  if (config.optimizer.kind == "muon")
    fail_user(
        "optimizer.kind = \"muon\" takes whole matrices, and parallel.tp = {} cuts them; share the "
        "model by parallel.pp instead, or use adamw",
        tp);
  if (const GgufRecipe* recipe = find_grid_recipe(config.schedule.quantize))
    WeightGrid(*recipe, m, make_param_table(m), 0, static_cast<int>(tp));
  if (config.output.layer_stats_every > 0)
    fail_user(
        "output.layer_stats_every looks at whole tensors, and parallel.tp = {} cuts them; set it "
        "to 0",
        tp);
}

}  // namespace isoflop
