// WeightGrid: the values that a quantized file of a model can hold. A run with schedule.quantize
// trains on them at last: from the cool-down on the forward and backward passes read weights on the
// grid, while the optimizer goes on moving fp32 masters by the gradients found there (the
// straight-through estimator of Bengio et al. 2013). The model is then what lies on the grid, and
// an export of the same recipe loses nothing.
//
// The grid is that of the folded weights (pretrain/fold.hpp), since these are what a file holds.
#pragma once
#include "core/param.hpp"
#include "core/threads.hpp"
#include "ops/backend.hpp"
#include "pretrain/config/run_config.hpp"
#include "pretrain/gguf_recipe.hpp"

#include <string>
#include <vector>

namespace isoflop {

class WeightGrid {
 public:
  /// Of what rank `part` of `parts` has of each matrix (parallel/tensor_cut.hpp); which type a
  /// matrix gets is decided by the whole of it. Borrows nothing; `table` is that of
  /// make_param_table(model). UserError when a cut goes through a block.
  WeightGrid(const GgufRecipe& recipe,
             const ModelConfig& model,
             const ParamTable& table,
             int part = 0,
             int parts = 1);

  /// Of the parameters [first, last) of the table: rounds what has a grid, copies the rest.
  void round(Backend& backend,
             const ParamBuffer& masters,
             ParamBuffer& rounded,
             size_t first,
             size_t last) const;
  /// In host memory, in place; absent views are left out.
  void round(ParamBuffer& parameters, ThreadTeam& team) const;

 private:
  struct Part {  // rows of one matrix
    int64_t first = 0, count = 0;
    BlockType type = BlockType::f32;
    double factor = 1;
  };
  std::vector<std::vector<Part>> parts_;  // of each parameter, covering its rows; or none
};

/// Of the grid that a model lies on after `steps_done` steps of a resolved run; "" before its
/// cool-down and without schedule.quantize.
std::string grid_after(const RunConfig& config, const ParamTable& table, int64_t steps_done);

}  // namespace isoflop
