#include "launch/coord_run.hpp"

#include "launch/observing_backend.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace isoflop {

namespace {

double mean_abs(const std::vector<float>& x) {
  double sum = 0;
  for (const float value : x) sum += std::abs(static_cast<double>(value));
  const double mean = sum / static_cast<double>(std::max<size_t>(1, x.size()));
  return std::isfinite(mean) ? mean : std::numeric_limits<double>::infinity();
}

double mean_change(const std::vector<float>& x, const std::vector<float>& from) {
  std::vector<float> change(x.size());
  for (size_t i = 0; i < x.size(); ++i) change[i] = x[i] - from[i];
  return mean_abs(change);
}

}  // namespace

std::vector<CoordRow> run_coordinates(const CoordRun& run, Backend& backend) {
  ParamTable table = run.table;
  for (ParamSpec& spec : table)
    if (run.muon_alone && spec.update != Update::muon) spec.lr_scale = 0;
  ObservingBackend observing(backend, table);
  TrainStep step(run.config, run.batch, table, observing);
  observing.know(step.parameters);
  step.fill_parameters(
      [&](ParamBuffer& parameters) { initialize_parameters(table, run.seed, parameters); });

  // The tokens looked at: the run's first sequence, at every step and size.
  std::vector<int32_t> window(static_cast<size_t>(run.batch.context + 1));
  run.source(0, window);
  const std::span<const int32_t> all(window);
  const Batch probe{1, run.batch.context, all.first(all.size() - 1), all.subspan(1)};

  std::vector<CoordRow> rows;
  Observation first;
  for (int64_t i = 1; i <= run.steps; ++i) {
    Observation now;
    observing.observe(&now);
    step.model().evaluate(probe);
    observing.observe(nullptr);
    if (i == 1) first = now;
    for (const CoordModule module : kCoordModules) {
      const size_t m = static_cast<size_t>(module);
      rows.push_back(
          {module, run.size, i, run.seed, mean_abs(now[m]), mean_change(now[m], first[m])});
    }
    const double ramp = std::min(1.0, static_cast<double>(i) / static_cast<double>(kCoordRamp));
    if (i < run.steps) step.run(i - 1, run.config.optimizer.lr * ramp, run.source);
  }
  return rows;
}

}  // namespace isoflop
