// A step over several ranks with a device each is the step of one device, bit for bit. CTest starts
// this under mpirun (tests/CMakeLists.txt) with emulated devices, whose messages go by MPI
// (emulated_wire.hpp), and once more with ISOFLOP_TEST_NCCL in the environment: with GPUs and NCCL,
// where there is a GPU for each rank.
#include "core/rng.hpp"
#include "cuda/backend.hpp"
#include "ops/host_copy.hpp"
#include "parallel/nccl.hpp"
#include "pretrain/model/parametrized.hpp"
#include "pretrain/train/rehearse.hpp"
#include "pretrain/train/trainer.hpp"
#include "report/metrics_reader.hpp"
#include "tests/cuda/emulated_wire.hpp"
#include "tests/cuda/tiny_run.hpp"
#include "tests/pretrain/train/ranks_rig.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <functional>
#include <limits>
#include <optional>

namespace isoflop::test {
namespace {

bool on_gpus() {
  return std::getenv("ISOFLOP_TEST_NCCL") != nullptr;
}

class GpuRanks : public ::testing::Test {
 protected:
  void SetUp() override {
    const int devices = on_gpus() ? gpu::find_devices().devices : ranks().size();
    if (devices < ranks().size())
      GTEST_SKIP() << "skipped: " << ranks().size() << " ranks need as many devices, there are "
                   << devices;
    if (on_gpus()) gpu::use_device(ranks().rank());
  }
};

std::unique_ptr<Backend> make_device(int algorithm = 0) {
  return on_gpus() ? gpu::make_gpu_backend() : make_emulated_gpu(Turns::ascending, algorithm);
}

EmulatedDevice& emulated(Backend& backend) {
  return static_cast<gpu::GpuBackend<EmulatedDevice>&>(backend).device();
}

/// The ranks of `group` for messages in the memory of `backend`.
std::unique_ptr<Communicator> make_wire(Communicator& group, Backend& backend) {
  if (!on_gpus())
    return std::make_unique<EmulatedWire>(group.split(0, group.rank()), emulated(backend));
  const std::string id = group.broadcast_text(group.is_root() ? nccl_group_id() : "", 0);
  return make_nccl(id, group.rank(), group.size(), std::chrono::minutes(1), backend.queue());
}

RunConfig tiny_model(Arch arch, bool tied, int stages = 1) {
  RunConfig c = tiny_run(arch, tied);
  c.model.layers = c.parallel.pp = stages;
  c.model.d_ff = c.model.d_model;  // emulated devices are slow
  c.model.context = 8;
  c.model.vocabulary = 300;
  return c;
}

/// Numbers of stages that the ranks can make, more than one.
std::vector<int> pipelines() {
  std::vector<int> some;
  for (const int pp : {2, 3, 4})
    if (ranks().size() % pp == 0) some.push_back(pp);
  return some;
}
std::vector<int> copies_and_pipelines() {
  std::vector<int> all = pipelines();
  all.push_back(1);
  return all;
}

const SequenceSource kFewTokens = [](uint64_t sequence, std::span<int32_t> window) {
  for (size_t i = 0; i < window.size(); ++i)
    window[i] = static_cast<int32_t>(philox(3, sequence, i)[0] % 300);
};

/// More slots than ranks, and never as many for each.
constexpr BatchPlan kPlan{.slots = 5, .micro_batches = 1, .micro_batch = 1, .context = 8};

/// One device's share of a step, or with `group` null all of it.
struct Rig {
  RunConfig config;
  ParamTable table;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Communicator> wire;
  std::optional<TrainStep> step;

  explicit Rig(const RunConfig& c, Communicator* group, const std::string& told = "")
      : config(c), table(make_parametrized_table(c)), backend(make_device()) {
    backend->use_choices(told);
    if (group) wire = make_wire(*group, *backend);
    step.emplace(config, kPlan, table, *backend, group, wire.get());
    step->fill_parameters([&](ParamBuffer& parameters) {
      initialize_parameters(table, 1, parameters, step->sharding());
    });
  }
  ~Rig() { step->settle(); }

  ParamBuffer on_host(const ParamBuffer& there) const {
    ParamBuffer here = there.twin_on_host("a copy");
    backend->download(there.flat(), here.flat());
    return here;
  }
};

/// What a device comes to: losses and norms, and everything that a checkpoint would hold.
struct Outcome {
  std::vector<double> numbers;
  ParamBuffer parameters, m, v;
};
/// What becomes of a rig, as losses and norms of its steps.
using Story = std::function<std::vector<double>(Rig& rig)>;

/// Of one device alone: the first rank has it, and tells the others.
Outcome outcome_of_one(const RunConfig& config, const Story& story, const std::string& told = "") {
  Outcome one;
  if (ranks().is_root()) {
    Rig rig(config, nullptr, told);
    one = {story(rig), rig.on_host(rig.step->parameters), rig.on_host(rig.step->optimizer.m),
           rig.on_host(rig.step->optimizer.v)};
  } else {
    const ParamTable table = make_parametrized_table(config);
    const DType moments = moment_dtype(config.optimizer, DType::f32);
    one = {{},
           ParamBuffer(table, DType::f32, "parameters"),
           Sharding(table).buffer(table, moments, "moments"),
           Sharding(table).second_moments(table, moments, "moments")};
  }
  one.numbers.resize(static_cast<size_t>(ranks().max(static_cast<int64_t>(one.numbers.size()))));
  ranks().broadcast(one.numbers.data(), one.numbers.size() * sizeof(double), 0);
  for (const ParamBuffer* buffer : {&one.parameters, &one.m, &one.v})
    ranks().broadcast(buffer->flat().data, buffer->bytes(), 0);
  return one;
}

void expect_same_rows(const Rig& shared, const ParamBuffer& whole, const ParamBuffer& ours) {
  const ParamBuffer share = shared.on_host(ours);
  for (size_t i = 0; i < shared.table.size(); ++i) {
    const RowRange rows = shared.step->sharding().rows(i);
    if (rows.count == 0 || !share[i]) continue;
    EXPECT_TRUE(same_bits(rows_of(whole[i], rows), share[i])) << shared.table[i].name;
  }
}

/// The same story over all ranks, on a rig that is left as it ended.
void expect_same(const Outcome& one, Rig& shared, const Story& story) {
  EXPECT_EQ(story(shared), one.numbers);
  shared.step->settle();
  const ParamBuffer held = shared.on_host(shared.step->parameters);
  size_t compared = 0;
  for (size_t i = 0; i < shared.table.size(); ++i) {
    if (!held[i]) continue;
    EXPECT_TRUE(same_bits(one.parameters[i], held[i])) << shared.table[i].name;
    ++compared;
  }
  EXPECT_GT(compared, 0u);
  expect_same_rows(shared, one.m, shared.step->optimizer.m);
  expect_same_rows(shared, one.v, shared.step->optimizer.v);
}

std::vector<double> take_two_steps(Rig& rig) {
  std::vector<double> numbers;
  for (int64_t step = 0; step < 2; ++step) {
    const StepResult result = rig.step->run(step, 1e-2, kFewTokens);
    EXPECT_GT(result.grad_norm, rig.config.optimizer.clip);
    numbers.insert(numbers.end(), {result.loss, result.grad_norm});
  }
  return numbers;
}

void expect_same_steps(const RunConfig& config) {
  const Outcome one = outcome_of_one(config, take_two_steps);
  Rig shared(config, &ranks());
  expect_same(one, shared, take_two_steps);
}

TEST_F(GpuRanks, TakeTheStepOfOne) {
  for (const bool tied : {true, false}) expect_same_steps(tiny_model(Arch::gpt3, tied));
  expect_same_steps(tiny_model(Arch::llama, true));
}

TEST_F(GpuRanks, TakeTheStepOfOneAsStagesOfAPipeline) {
  for (const int pp : pipelines()) {
    for (const bool tied : {true, false}) expect_same_steps(tiny_model(Arch::gpt3, tied, pp));
    RunConfig recomputed = tiny_model(Arch::llama, true, pp);
    recomputed.compute.recompute = "block";
    expect_same_steps(recomputed);
  }
}

TEST_F(GpuRanks, TakeTheStepOfOneWithMuonAndWithMomentsInBf16) {
  RunConfig muon = tiny_model(Arch::llama, true), small = tiny_model(Arch::gpt3, true);
  muon.optimizer.kind = "muon";
  expect_same_steps(muon);
  small.optimizer.state = "bf16";
  expect_same_steps(small);
}

/// A step, one that is skipped, and another. What is not finite shows up in one slot only, the last
/// rank's.
std::vector<double> skip_a_step(Rig& rig) {
  const auto set = [&](const ParamBuffer& values) {
    rig.step->fill_parameters([&](ParamBuffer& parameters) {
      std::memcpy(parameters.flat().data, values.flat().data, values.bytes());
    });
  };
  rig.step->run(0, 1e-2, kFewTokens);
  rig.step->settle();
  const ParamBuffer before = rig.on_host(rig.step->parameters);
  const ParamBuffer poisoned = rig.on_host(rig.step->parameters);
  const auto embedding = static_cast<size_t>(find_param(rig.table, "embedding.weight"));
  if (poisoned[embedding])  // absent in the middle of a pipeline
    poisoned[embedding].row<float>(299)[0] = std::numeric_limits<float>::infinity();
  set(poisoned);
  const SequenceSource source = [](uint64_t sequence, std::span<int32_t> window) {
    kFewTokens(sequence, window);
    for (int32_t& id : window) id = sequence == 9 ? 299 : id % 299;
  };
  EXPECT_TRUE(rig.step->run(1, 1e-2, source).skipped);
  set(before);
  const StepResult after = rig.step->run(2, 1e-2, kFewTokens);
  EXPECT_FALSE(after.skipped);
  EXPECT_EQ(rig.step->updates, 2);
  return {after.loss, after.grad_norm};
}

TEST_F(GpuRanks, SkipTheSameStep) {
  for (const int pp : copies_and_pipelines()) {
    const RunConfig config = tiny_model(Arch::gpt3, true, pp);
    const Outcome one = outcome_of_one(config, skip_a_step);
    Rig shared(config, &ranks());
    expect_same(one, shared, skip_a_step);
  }
}

TEST_F(GpuRanks, ScoreShowAndGatherWhatOneHas) {
  std::vector<int32_t> tokens(9);
  kFewTokens(77, tokens);
  const Batch batch{1, 8, std::span(tokens).first(8), std::span(tokens).last(8)};
  const Story story = [&](Rig& rig) {
    const double nats = rig.step->from_last_stage(rig.step->evaluate(batch));
    return std::vector<double>{nats, rig.step->run(0, 1e-2, kFewTokens).loss};
  };
  for (const int pp : copies_and_pipelines()) {
    const RunConfig config = tiny_model(Arch::llama, true, pp);
    const Outcome one = outcome_of_one(config, story);
    Rig shared(config, &ranks());
    expect_same(one, shared, story);
    size_t seen = 0;
    shared.step->visit_all(shared.step->parameters, [&](size_t i, View value) {
      EXPECT_EQ(i, seen++);
      EXPECT_TRUE(same_bits(one.parameters[i], value)) << shared.table[i].name;
    });
    EXPECT_EQ(seen, ranks().is_root() ? shared.table.size() : 0);
  }
}

// For layer statistics, which no rank has all gradients for.
TEST_F(GpuRanks, GatherTheGradientsOfOne) {
  for (const int pp : copies_and_pipelines()) {
    Rig shared(tiny_model(Arch::gpt3, true, pp), &ranks());
    shared.step->compute(0, kFewTokens);
    shared.step->gather_gradients();
    const ParamBuffer gathered = shared.on_host(shared.step->gradients());
    ParamBuffer whole(make_gradient_table(shared.config.model), DType::f32, "gradients");
    if (ranks().is_root()) {
      Rig alone(shared.config, nullptr);
      alone.step->compute(0, kFewTokens);
      whole = alone.on_host(alone.step->gradients());
    }
    ranks().broadcast(whole.flat().data, whole.bytes(), 0);
    for (size_t i = 0; i < shared.table.size(); ++i) {
      if (!shared.step->sharding().in_stage(i)) continue;
      EXPECT_TRUE(same_bits(whole[i], gathered[i])) << shared.table[i].name;
    }
  }
}

// The device's queue waits for messages, the host once for the step's numbers.
TEST_F(GpuRanks, TheHostOfEachWaitsOnceAStep) {
  if (on_gpus())
    GTEST_SKIP() << "skipped: only emulated devices count how often they are waited for";
  for (const int pp : copies_and_pipelines()) {
    Rig shared(tiny_model(Arch::gpt3, true, pp), &ranks());
    shared.step->run(0, 1e-2, kFewTokens);
    const int64_t before = emulated(*shared.backend).waits();
    shared.step->run(1, 1e-2, kFewTokens);
    EXPECT_EQ(emulated(*shared.backend).waits() - before, 1);
  }
}

// Devices whose own timing would choose otherwise follow what the first rank's has rehearsed, which
// is all that there is to choose, on every stage.
TEST_F(GpuRanks, FollowWhatTheFirstHasRehearsed) {
  for (const int pp : copies_and_pipelines()) {
    RunConfig config = tiny_model(Arch::gpt3, true, pp);
    config.optimizer.kind = "muon";
    std::string choices;
    if (ranks().is_root()) {
      const auto backend = make_device(1);
      rehearse(config, kPlan, *backend);
      choices = backend->choices();
      EXPECT_NE(choices, "");
    }
    choices = ranks().broadcast_text(choices, 0);
    const Outcome one = outcome_of_one(config, take_two_steps, choices);
    Rig shared(config, &ranks(), choices);
    expect_same(one, shared, take_two_steps);
    EXPECT_EQ(shared.backend->choices(), choices);
  }
}

/// Trains to the end, or with `until` to that step, where it is asked to stop.
void train(const isoflop::Run& run,
           Communicator* group,
           const std::optional<CheckpointRef>& from,
           int64_t until = 0) {
  const std::unique_ptr<Backend> backend = make_device();
  const std::unique_ptr<Communicator> wire = group ? make_wire(*group, *backend) : nullptr;
  int64_t steps = from ? from->step() : 0;
  TrainerOptions options;
  options.quiet = true;
  options.stop = [&] { return ++steps == until; };
  options.ranks = group;
  options.wire = wire.get();
  options.sample = [](const ParamBuffer&) { return std::string("text"); };
  Trainer(run, *backend, std::move(options), from).run();
}

// Saved by all ranks after two steps, and ended by all but the last one, or by one: metrics and
// hashes of the parameters are those of a run on one device.
TEST_F(GpuRanks, GoOnOnAnotherNumberOfRanks) {
  std::optional<TempDir> mine;
  if (ranks().is_root()) mine.emplace();
  const fs::path folder = ranks().broadcast_text(mine ? mine->path().string() : "", 0);
  std::vector<int> stages = {1};
  if (ranks().size() % 2 == 0) stages.push_back(2);
  for (const int pp : stages) {
    const std::vector<std::string> settings = {"schedule.slots=4",
                                               "schedule.batch_tokens=64",
                                               fmt::format("parallel.pp={}", pp),
                                               fmt::format("model.layers={}", pp),
                                               "eval.sample_every=2",
                                               "output.layer_stats_every=2",
                                               "checkpoint.keep=0",
                                               "model.tied_embeddings=true"};
    const fs::path together = folder / fmt::format("together-{}", pp);
    std::optional<isoflop::Run> run;
    if (ranks().is_root()) run.emplace(tiny_run(together, "gpt3", settings));
    ranks().barrier();
    if (!run) run.emplace(tiny_run(together, "gpt3", settings, true));
    train(*run, &ranks(), std::nullopt, 2);
    ranks().barrier();

    std::vector<std::string> warnings;
    const CheckpointRef from =
        open_checkpoint((together / "checkpoints" / checkpoint_name(2)).string(), warnings);
    const int fewer = std::max(1, ranks().size() - 1);
    run->config.parallel.pp = 1;
    const std::unique_ptr<Communicator> rest =
        ranks().split(ranks().rank() < fewer, ranks().rank());
    if (ranks().rank() < fewer) train(*run, fewer > 1 ? rest.get() : nullptr, from);
    ranks().barrier();

    if (ranks().is_root()) {
      std::vector<std::string> alone = settings;
      alone[2] = "parallel.pp=1";
      const isoflop::Run one = tiny_run(folder / fmt::format("one-{}", pp), "gpt3", alone);
      train(one, nullptr, std::nullopt);
      const auto a = read_metrics(one.folder, 1, kTinySteps);
      const auto b = read_metrics(together, 1, kTinySteps);
      ASSERT_EQ(a.size(), static_cast<size_t>(kTinySteps));
      ASSERT_EQ(b.size(), a.size());
      for (const auto& [step, record] : a) {
        EXPECT_EQ(record.loss, b.at(step).loss) << step;
        EXPECT_EQ(record.grad_norm, b.at(step).grad_norm) << step;
        EXPECT_EQ(record.hash, b.at(step).hash) << step;
        EXPECT_NE(record.hash, "");
      }
    }
    ranks().barrier();
  }
}

// What is planned for a rank is what a rank takes, but for a few numbers, and for the gaps between
// tensors that travel with them.
TEST_F(GpuRanks, TakeTheMemoryThatWasPlanned) {
  for (const int pp : copies_and_pipelines()) {
    const RunConfig config = tiny_model(Arch::gpt3, true, pp);
    Rig shared(config, &ranks());
    size_t planned = 0;
    for (const MemoryRow& row : plan_memory(config, shared.table, kPlan, DType::bf16, DType::f32,
                                            ranks().size(), MemoryOf::device))
      planned += row.bytes;
    const auto most =
        static_cast<size_t>(ranks().max(static_cast<int64_t>(shared.backend->peak_bytes())));
    const auto chunks = static_cast<size_t>(parameter_count(shared.table) / kNormChunk);
    const size_t numbers = 8 * (5 + chunks + 2 * shared.table.size());
    const size_t gaps = kAlignment * shared.table.size() * static_cast<size_t>(kPlan.slots);
    EXPECT_GE(most, planned);
    EXPECT_LE(most, planned + numbers + gaps);
  }
}

}  // namespace
}  // namespace isoflop::test
