// What tests of steps over several ranks share: the ranks, a small model, a step on a backend.
#pragma once
#include "core/rng.hpp"
#include "core/threads.hpp"
#include "cpu/backend.hpp"
#include "ops/reference/backend.hpp"
#include "pretrain/model/parametrized.hpp"
#include "pretrain/train/train_step.hpp"

#include <cstring>

namespace isoflop::test {

inline Communicator& ranks() {
  static const std::unique_ptr<World> world = make_world();
  return world->ranks();
}

inline RunConfig tiny_run(Arch arch, bool tied) {
  RunConfig c;
  c.model.arch = arch;
  c.model.layers = 2;
  c.model.d_model = 48;  // no divisor of 64: shares are cut at more than one panel
  c.model.heads = 2;
  c.model.kv_heads = arch == Arch::llama ? 1 : 2;
  c.model.rotary_fraction = arch == Arch::gpt3 ? 0 : 1;
  c.model.head_dim = 24;
  c.model.d_ff = 320;
  c.model.context = 16;
  c.model.vocabulary = 600;
  c.model.tied_embeddings = tied;
  c.optimizer.clip = 0.1;  // below the norms here: always active
  return c;
}

inline const SequenceSource kRandomTokens = [](uint64_t sequence, std::span<int32_t> window) {
  for (size_t i = 0; i < window.size(); ++i)
    window[i] = static_cast<int32_t>(philox(3, sequence, i)[0] % 600);
};

struct Rig {
  RunConfig config;
  ParamTable table;
  ThreadTeam team{1};
  std::unique_ptr<Backend> backend;
  TrainStep step;
  Rig(const RunConfig& c, const BatchPlan& plan, DType activation, Communicator* group)
      : config(c),
        table(make_parametrized_table(c)),
        backend(activation == DType::f64 ? make_reference_backend(activation)
                                         : make_cpu_backend(team, activation)),
        step(config, plan, table, *backend, group) {
    initialize_parameters(table, 1, step.parameters, step.sharding());
    step.refresh_weights();
  }
  /// The last stage's of a tied matrix.
  bool has_copy(size_t param) const {
    return config.model.tied_embeddings && param + 1 == table.size() &&
           step.sharding().grid().last_stage();
  }
};

inline bool same(View a, View b) {
  return a.bytes() == b.bytes() && std::memcmp(a.data, b.data, a.bytes()) == 0;
}

}  // namespace isoflop::test
