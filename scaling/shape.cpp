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

/// `scale` D^0.571 tokens, as a power of two of sequences.
int64_t batch_for(double scale, double tokens, int64_t context, double most) {
  const double sequence = static_cast<double>(context);
  const double wanted = std::log2(scale * std::pow(tokens, 0.571) / sequence);
  const double power = std::min(std::round(wanted), std::floor(std::log2(most / sequence)));
  return context * static_cast<int64_t>(std::exp2(std::max(3.0, power)));
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

Recipe measured_recipe(const ModelConfig& model, double tokens, double critical_batch) {
  return {batch_for(0.25, tokens, model.context, critical_batch),
          0.7 / static_cast<double>(model.d_model), "measured on runs of minutes to hours"};
}

Recipe recipe_for(const ModelConfig& model, double tokens, double critical_batch) {
  if (tokens < 1e9) return measured_recipe(model, tokens, critical_batch);
  const double n = static_cast<double>(non_embedding_parameter_count(model));
  return {batch_for(0.58, tokens, model.context, critical_batch),
          1.79 * std::pow(n, -0.713) * std::pow(tokens, 0.307), "Step Law (Li et al. 2025)"};
}

}  // namespace isoflop
