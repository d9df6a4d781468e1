#include "pretrain/train/rehearse.hpp"

#include "pretrain/model/parametrized.hpp"
#include "pretrain/train/random_source.hpp"
#include "pretrain/train/train_step.hpp"

namespace isoflop {

void rehearse(RunConfig config, const BatchPlan& plan, Backend& backend) {
  constexpr double kRate = 1e-4;
  config.model.layers = 1;
  config.parallel.pp = 1;
  const BatchPlan alone{
      .slots = 1, .micro_batches = 1, .micro_batch = plan.micro_batch, .context = plan.context};
  const ParamTable table = make_parametrized_table(config);
  TrainStep step(config, alone, table, backend);
  step.fill_parameters(
      [&](ParamBuffer& parameters) { initialize_parameters(table, 1, parameters); });
  step.run(0, kRate, random_source(config.model.vocabulary, 1));
}

}  // namespace isoflop
