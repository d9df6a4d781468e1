#include "scaling/shape.hpp"

#include "core/math.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/architecture.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop {

namespace {

/// The value of the last row whose width is not above.
int64_t by_width(int64_t width, std::initializer_list<std::pair<int64_t, int64_t>> rows) {
  int64_t value = 0;
  for (const auto& [from, v] : rows)
    if (width >= from) value = v;
  return value;
}

}  // namespace

std::vector<ModelConfig> planned_shapes(const ShapeOptions& options) {
  std::vector<ModelConfig> shapes;
  for (const int64_t d :
       {64,   96,   128,  160,  192,  256,  512,  768,  1024, 1280,  1536,  1792, 2048,
        2304, 2560, 3072, 3584, 4096, 5120, 6144, 7168, 8192, 10240, 12288, 16384}) {
    // Up to eight layers each, then in steps of an eighth.
    for (int64_t layers = std::max<int64_t>(2, d / 128); layers <= std::max<int64_t>(3, d / 32);
         layers += std::max<int64_t>(1, layers / 8)) {
      RunConfig run;
      ModelConfig& m = run.model;
      m.arch = options.arch;
      m.layers = layers;
      m.d_model = d;
      m.heads = d / by_width(d, {{64, 32}, {256, 64}, {2048, 128}});
      if (is_llama(m.arch) && d >= 256) m.d_ff = round_up(div_ceil(8 * d, 3), 256);
      m.vocabulary = options.vocabulary > 0 ? options.vocabulary
                                            : by_width(d, {{64, 1024},
                                                           {96, 2048},
                                                           {160, 4096},
                                                           {320, 8192},
                                                           {640, 16384},
                                                           {1024, 32768}});
      m.context = options.context > 0
                      ? options.context
                      : by_width(d, {{64, 128}, {192, 256}, {512, 512}, {768, 1024}, {1536, 2048}});
      run.schedule.batch_tokens = m.context;
      shapes.push_back(resolved(run).model);
    }
  }
  return shapes;
}

Recipe recipe_for(const ModelConfig& model, double tokens, double critical_batch) {
  const bool long_run = tokens >= 1e9;
  const double context = static_cast<double>(model.context);
  const double wanted = (long_run ? 0.58 : 0.25) * std::pow(tokens, 0.571) / context;
  double power = std::round(std::log2(std::max(wanted, 8.0)));
  power = std::max(3.0, std::min(power, std::floor(std::log2(critical_batch / context))));
  const double n = static_cast<double>(non_embedding_parameter_count(model));
  Recipe recipe;
  recipe.batch_tokens = model.context * static_cast<int64_t>(std::exp2(power));
  recipe.lr = long_run ? 1.79 * std::pow(n, -0.713) * std::pow(tokens, 0.307)
                       : 0.7 / static_cast<double>(model.d_model);
  recipe.source = long_run ? "Step Law (Li et al. 2025)" : "measured on runs of minutes to hours";
  return recipe;
}

}  // namespace isoflop
