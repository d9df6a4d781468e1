#include "launch/step_terms.hpp"

#include "parallel/tensor_cut.hpp"
#include "report/humanize.hpp"

namespace isoflop {

namespace {

std::string milliseconds(double seconds) {
  return fmt::format("{:.3g} ms", seconds * 1e3);
}

}  // namespace

StepWork work_of(const Run& run, GridShape grid, DType activations) {
  return {run.config.model, run.batch, grid,
          largest_stage(cut_table(run.table, 0, grid.tp), run.config.model.layers, grid.pp),
          static_cast<double>(size_of(activations))};
}

void print_step_terms(const StepTerms& terms, const Context& context) {
  const double step = terms.step();
  context.print("step     {}: {:.1f}% of it compute", milliseconds(step), 100 * terms.efficiency());
  const auto row = [&](const char* name, double seconds, const std::string& more = {}) {
    if (seconds > 0)
      context.print("         {:<20} {:>12} {:>6.1f}%{}", name, milliseconds(seconds),
                    100 * seconds / step, more.empty() ? "" : "   " + more);
  };
  const auto wire = [&](double bytes, double seconds, double exposed) {
    return fmt::format("{} a rank, {} on the wire, {:.0f}% hidden", human_bytes(bytes),
                       milliseconds(seconds), seconds > 0 ? 100 * (1 - exposed / seconds) : 100.0);
  };
  row("compute", terms.compute);
  row("held up by messages", terms.held_up);
  row("uneven slots, stages", terms.uneven);
  row("pipeline bubble", terms.bubble);
  row("pipeline messages", terms.pipeline,
      human_bytes(terms.traffic.pipeline) + " to each neighbour");
  row("tensor parallel", terms.tensor, human_bytes(terms.traffic.tensor) + " a rank");
  row("gradients", terms.exposed_gradients,
      wire(terms.traffic.gradients, terms.gradients, terms.exposed_gradients));
  row("parameters", terms.exposed_parameters,
      wire(terms.traffic.parameters, terms.parameters, terms.exposed_parameters));
  row("optimizer", terms.optimizer);
}

nlohmann::ordered_json step_json(const StepTerms& terms) {
  return {{"seconds", terms.step()},
          {"efficiency", terms.efficiency()},
          {"hidden", terms.hidden()},
          {"compute", terms.compute},
          {"held_up", terms.held_up},
          {"uneven", terms.uneven},
          {"bubble", terms.bubble},
          {"pipeline", terms.pipeline},
          {"tensor", terms.tensor},
          {"gradients", terms.gradients},
          {"exposed_gradients", terms.exposed_gradients},
          {"parameters", terms.parameters},
          {"exposed_parameters", terms.exposed_parameters},
          {"optimizer", terms.optimizer},
          {"gradient_bytes", terms.traffic.gradients},
          {"parameter_bytes", terms.traffic.parameters},
          {"pipeline_bytes", terms.traffic.pipeline},
          {"tensor_bytes", terms.traffic.tensor}};
}

}  // namespace isoflop
