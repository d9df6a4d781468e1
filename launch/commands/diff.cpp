#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"
#include "pretrain/checkpoint/checkpoint.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/model/parametrized.hpp"

#include <nlohmann/json.hpp>

#include <cstring>
#include <memory>

namespace isoflop {

namespace {

struct Side {
  CheckpointRef checkpoint;
  ParamTable table;
  ParamBuffer parameters, m, v;
  TrainState state;

  explicit Side(const std::string& path, const Context& context) {
    std::vector<std::string> warnings;
    checkpoint = open_checkpoint(path, warnings);
    for (const std::string& warning : warnings) context.note("{}", warning);
    Origins origins;
    table = make_parametrized_table(load_config(checkpoint.folder / "config.toml", {}, origins));
    for (ParamBuffer* buffer : {&parameters, &m})
      *buffer = ParamBuffer(table, DType::f32, "a checkpoint");
    v = Sharding(table).second_moments(table, DType::f32, "a checkpoint");
    state = load_checkpoint(checkpoint, table, {&parameters, &m, &v});
  }
};

/// Where two tensors differ first, in words; empty when they are the same bits.
std::string first_difference(const std::string& name, View a, View b) {
  if (!a && !b) return "";
  if (std::memcmp(a.data, b.data, a.bytes()) == 0) return "";
  for (int64_t r = 0; r < a.rows; ++r)
    for (int64_t c = 0; c < a.cols; ++c)
      if (std::memcmp(a.row<float>(r) + c, b.row<float>(r) + c, sizeof(float)) != 0)
        return fmt::format("{}[{}, {}]: {} and {}", name, r, c, a.row<float>(r)[c],
                           b.row<float>(r)[c]);
  return name;
}

std::string compare(const Side& a, const Side& b) {
  if (a.state.step != b.state.step)
    return fmt::format("step: {} and {}", a.state.step, b.state.step);
  if (a.state.seed != b.state.seed)
    return fmt::format("seed: {} and {}", a.state.seed, b.state.seed);
  if (a.state.slots != b.state.slots)
    return fmt::format("slots: {} and {}", a.state.slots, b.state.slots);
  if (a.table.size() != b.table.size())
    return fmt::format("tensors: {} and {}", a.table.size(), b.table.size());
  for (size_t i = 0; i < a.table.size(); ++i) {
    const ParamSpec &x = a.table[i], &y = b.table[i];
    if (x.name != y.name || x.rows != y.rows || x.cols != y.cols)
      return fmt::format("tensor {} ({} x {}) and {} ({} x {})", x.name, x.rows, x.cols, y.name,
                         y.rows, y.cols);
    if (x.update != y.update) return fmt::format("optimizer of {}", x.name);
    for (const auto& [kind, one, two] :
         {std::tuple{"", &a.parameters, &b.parameters}, std::tuple{"first moment of ", &a.m, &b.m},
          std::tuple{"second moment of ", &a.v, &b.v}}) {
      const std::string difference = first_difference(kind + x.name, (*one)[i], (*two)[i]);
      if (!difference.empty()) return difference;
    }
  }
  return "";
}

ExitCode run(const std::string& a, const std::string& b, const Context& context) {
  const Side left(a, context), right(b, context);
  const std::string difference = compare(left, right);
  if (difference.empty())
    context.print("identical: parameters, moments, step {} and order", left.state.step);
  else
    context.print("different: {}", difference);
  const std::string one = kernels_in(left.state.kernel_plan);
  const std::string two = kernels_in(right.state.kernel_plan);
  if (!difference.empty() && one != two)
    context.print("other kernels give other bits: {} and {} (see compute.bf16_kernel)", one, two);
  context.result({{"identical", difference.empty()}, {"difference", difference}});
  return difference.empty() ? ExitCode::kDone : ExitCode::kBug;
}

struct Options {
  std::string a, b;
};

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option("a", options->a, "run folder or checkpoint")->required();
  app.add_option("b", options->b, "run folder or checkpoint")->required();
  return [options, &context] { return run(options->a, options->b, context); };
}

}  // namespace

Command diff_command() {
  return {"diff", "compare two runs or checkpoints bit for bit; exit 1 when they differ",
          "isoflop diff runs/first runs/second", declare};
}

}  // namespace isoflop
