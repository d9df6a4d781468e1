#include "pretrain/weight_grid.hpp"

#include "core/error.hpp"
#include "core/math.hpp"
#include "formats/block_rounding.hpp"
#include "parallel/tensor_cut.hpp"
#include "pretrain/fold.hpp"
#include "pretrain/optim/schedule.hpp"

#include <algorithm>

namespace isoflop {

namespace {

/// A cut of columns goes between blocks.
void require_whole_blocks(const ParamSpec& spec, const BlockCodec& codec, int64_t cols, int parts) {
  if (codec.fits(cols)) return;
  fail_user(
      "schedule.quantize rounds {} inputs of a matrix together, and parallel.tp = {} gives a rank "
      "{} of the {} of {}; share the model by parallel.pp, or by a parallel.tp that leaves whole "
      "blocks",
      codec.block_elements, parts, cols, spec.cols, spec.name);
}

}  // namespace

WeightGrid::WeightGrid(const GgufRecipe& recipe,
                       const ModelConfig& model,
                       const ParamTable& table,
                       int part,
                       int parts)
    : parts_(table.size()) {
  const RecipeContext context = recipe_context(model, false);
  for (size_t i = 0; i < table.size(); ++i) {
    const ParamSpec& spec = table[i];
    if (spec.is_vector()) continue;
    const TensorCut cut = cut_of(spec, part, parts);
    const auto add = [&](int64_t first, int64_t count, BlockType type, double factor) {
      for (const RowRun& run : cut.runs) {
        const int64_t from = std::max(first, run.whole);
        const int64_t to = std::min(first + count, run.whole + run.count);
        if (from < to) parts_[i].push_back({run.first + from - run.whole, to - from, type, factor});
      }
    };
    for (const ForeignName& foreign : spec.gguf) {
      const int64_t rows = foreign.row_count > 0 ? foreign.row_count : spec.rows;
      const BlockType type =
          choose_block_type(recipe, context, foreign.name, spec.stage_block, {spec.cols, spec.rows})
              .type;
      if (type == BlockType::f32) continue;
      require_whole_blocks(spec, block_codec(type), cut.cols, parts);
      // The first fold_rows outputs of the tensor carry the factor.
      const int64_t all = spec.fold_rows > 0 ? spec.fold_rows : spec.rows;
      const int64_t folded = std::clamp<int64_t>(all - foreign.first_row, 0, rows);
      add(foreign.first_row, folded, type, fold_factor(model, spec.fold));
      add(foreign.first_row + folded, rows - folded, type, 1);
    }
  }
}

void WeightGrid::round(Backend& backend,
                       const ParamBuffer& masters,
                       ParamBuffer& rounded,
                       size_t first,
                       size_t last) const {
  for (size_t i = first; i < last; ++i) {
    if (!masters[i]) continue;
    if (parts_[i].empty()) backend.copy(masters[i], rounded[i]);
    for (const Part& part : parts_[i])
      backend.round_to_blocks({.from = masters[i].slice(part.first, part.count),
                               .to = rounded[i].slice(part.first, part.count),
                               .type = static_cast<uint32_t>(part.type),
                               .factor = part.factor});
  }
}

void WeightGrid::round(ParamBuffer& parameters, ThreadTeam& team) const {
  for (size_t i = 0; i < parts_.size(); ++i) {
    if (!parameters[i]) continue;
    for (const Part& part : parts_[i]) {
      const View rows = parameters[i].slice(part.first, part.count);
      const int64_t tile = std::max<int64_t>(1, (1 << 15) / rows.cols);
      team.run(div_ceil(rows.rows, tile), [&](int64_t t, int) {
        const View piece = rows.slice(t * tile, std::min(tile, rows.rows - t * tile));
        round_to_blocks(block_codec(part.type), piece.as<float>(), piece.rows, piece.cols,
                        static_cast<float>(part.factor), piece.as<float>());
      });
    }
  }
}

std::string grid_after(const RunConfig& config, const ParamTable& table, int64_t steps_done) {
  if (!find_grid_recipe(config.schedule.quantize)) return "";
  const Schedule schedule = schedule_of(config, parameter_count(table));
  return schedule.quantizes(steps_done) ? config.schedule.quantize : "";
}

}  // namespace isoflop
