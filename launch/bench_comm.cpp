#include "launch/bench_comm.hpp"

#include "launch/bench_limits.hpp"
#include "launch/train_run.hpp"
#include "ops/host_copy.hpp"
#include "parallel/plain_sum.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/train/random_source.hpp"
#include "pretrain/train/shard_exchange.hpp"
#include "scaling/simulate.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>

namespace isoflop {

namespace {

constexpr double kRate = 1e-4;                  // moves the parameters, lets nothing diverge
constexpr size_t kWireBytes = size_t{4} << 20;  // a message that is worth a link's while
constexpr int kPings = 51, kTransfers = 11, kTimes = 7;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class SilentCommunicator : public Communicator {
 public:
  SilentCommunicator(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  Ticket start_exchange(std::span<const Message>, std::span<const Message>) override { return 0; }
  Ticket start_all_gather(const void*, void*, size_t) override { return 0; }
  Ticket start_broadcast(void*, size_t, int) override { return 0; }
  Ticket start_barrier() override { return 0; }
  bool done(Ticket) override { return true; }
  void wait(Ticket) override {}
  /// Numbers within the group matter to what is computed, so they must be right: the groups are
  /// those of a grid, which the caller splits off the true ranks.
  std::unique_ptr<Communicator> split(int color, int key) override;
  WireTotals wire_totals() const override { return {}; }

 protected:
  int rank_, size_;
};

/// Splits as the true ranks do, and is silent afterwards.
class SilentRanks final : public SilentCommunicator {
 public:
  explicit SilentRanks(Communicator& ranks)
      : SilentCommunicator(ranks.rank(), ranks.size()), ranks_(ranks) {}
  std::unique_ptr<Communicator> split(int color, int key) override {
    const std::unique_ptr<Communicator> part = ranks_.split(color, key);
    return std::make_unique<SilentCommunicator>(part->rank(), part->size());
  }

 private:
  Communicator& ranks_;
};

std::unique_ptr<Communicator> SilentCommunicator::split(int, int) {
  ISOFLOP_CHECK(false, "groups of groups are not silent");
  return {};
}

/// The slowest rank's, at all of them.
double slowest(Communicator& ranks, double seconds) {
  std::vector<double> all(static_cast<size_t>(ranks.size()));
  ranks.all_gather(&seconds, all.data(), sizeof(seconds));
  return *std::max_element(all.begin(), all.end());
}

/// Of `call`, which all ranks begin together.
double seconds_together(Communicator& ranks, const std::function<void()>& call) {
  ranks.barrier();
  const double start = now();
  call();
  return slowest(ranks, now() - start);
}

double median_together(Communicator& ranks, int times, const std::function<void()>& call) {
  call();  // pages, connections
  std::vector<double> seconds;
  for (int i = 0; i < times; ++i) seconds.push_back(seconds_together(ranks, call));
  return median(std::move(seconds));
}

void measure_wire(Communicator& ranks, CommBench& bench) {
  const Buffer out = allocate_host(kWireBytes, "messages"),
               in = allocate_host(kWireBytes, "messages");
  const int size = ranks.size(), next = (ranks.rank() + 1) % size;
  const int before = (ranks.rank() + size - 1) % size;
  const auto pass_on = [&](size_t bytes) {
    const Message to[] = {{next, out.data(), bytes}}, from[] = {{before, in.data(), bytes}};
    ranks.exchange(to, from);
  };
  bench.latency = median_together(ranks, kPings, [&] { pass_on(4); });
  const double seconds = median_together(ranks, kTransfers, [&] { pass_on(kWireBytes); });
  bench.wire_bytes_per_s = static_cast<double>(kWireBytes) / seconds;
}

StepWork work_of(const Run& run, GridShape grid) {
  return {run.config.model, run.batch, grid,
          largest_stage(run.table, run.config.model.layers, grid.pp)};
}

/// The messages of a step, without the step.
void measure_messages(const Run& run, Backend& backend, Communicator& ranks, CommBench& bench) {
  const GridShape grid = fit_grid(ranks.size(), 1, static_cast<int>(run.config.parallel.pp));
  const Sharding sharding(run.table, ProcessGrid(grid, ranks.rank()));
  const ParamTable gradient_table = make_gradient_table(run.config.model);
  GradientTree gradients(gradient_table, backend, run.batch.slots,
                         slots_of(run.batch.slots, sharding.grid().place().dp, grid.dp),
                         held_gradients(run.config.model, sharding));
  ParamBuffer parameters(run.table, backend.state_dtype(), "parameters",
                         held_parameters(run.config.model, sharding), allocator_of(backend));
  ShardExchange exchange(ranks, sharding, run.table, gradient_table, run.batch.slots, gradients,
                         parameters, backend);
  const size_t buckets = sharding.buckets().size();
  std::vector<double> losses(static_cast<size_t>(run.batch.slots));
  const StepTraffic traffic = traffic_of(work_of(run, grid));
  const double gradient_seconds = median_together(ranks, kTimes, [&] {
    for (size_t b = 0; b < buckets; ++b)
      if (sharding.in_stage(sharding.buckets()[b].first)) exchange.start_gradients(b);
    exchange.finish_gradients();
  });
  const double number_seconds =
      median_together(ranks, kTimes, [&] { exchange.share_numbers(losses); });
  const double parameter_seconds = median_together(ranks, kTimes, [&] {
    for (size_t b = buckets; b-- > 0;)
      if (exchange.takes_part(b)) exchange.start_parameters(b);
    for (size_t b = buckets; b-- > 0;)
      if (exchange.takes_part(b)) exchange.finish_parameters(b);
  });
  bench.operations.push_back({"gradients", traffic.gradients, gradient_seconds});
  bench.operations.push_back(
      {"losses and squares", static_cast<double>(losses.size() * sizeof(double)), number_seconds});
  bench.operations.push_back({"parameters", traffic.parameters, parameter_seconds});

  const auto count = static_cast<size_t>(parameter_count(run.table));
  const Buffer all = allocate_host(count * sizeof(float), "an all-reduce");
  const double plain = median_together(
      ranks, kTimes, [&] { plain_sum(ranks, reinterpret_cast<float*>(all.data()), count); });
  // What any all-reduce has to send at least.
  const double share = 2.0 * (ranks.size() - 1) / ranks.size();
  bench.operations.push_back(
      {"plain all-reduce", share * static_cast<double>(count * sizeof(float)), plain});
}

/// Steps of one model; `after` comes between gradients and update.
class Steps {
 public:
  Steps(const Run& run, Backend& backend, Communicator* ranks)
      : backend_(backend),
        source_(random_source(run.config.model.vocabulary, run.config.data.seed)),
        step_(run.config, run.batch, run.table, backend, ranks) {
    step_.fill_parameters([&](ParamBuffer& parameters) {
      initialize_parameters(run.table, run.config.data.seed, parameters);
    });
  }
  void take(int64_t steps, const std::function<void()>& after = {}) {
    for (int64_t i = 0; i < steps; ++i) {
      const StepResult result = step_.compute(taken_++, source_);
      if (after) after();
      step_.apply(kRate, result);
    }
    step_.settle();
    backend_.synchronize();
  }

 private:
  Backend& backend_;
  SequenceSource source_;
  TrainStep step_;
  int64_t taken_ = 0;
};

/// The part of the batch that is one copy's, as a run of its own.
Run part_of(const Run& run, SlotRange slots) {
  Run part = run;
  part.batch.slots = slots.size();
  part.config.schedule.slots = slots.size();
  part.config.schedule.batch_tokens = part.batch.tokens();
  part.config.parallel.pp = 1;
  return part;
}

/// Of the host that has the most.
int count_ranks_per_host(Communicator& ranks) {
  char name[256] = {};
  ::gethostname(name, sizeof(name) - 1);
  const std::vector<std::string> hosts = ranks.gather_texts(name);
  std::ptrdiff_t most = 0;
  for (const std::string& host : hosts)
    most = std::max(most, std::count(hosts.begin(), hosts.end(), host));
  return static_cast<int>(most);
}

void measure_steps(const Run& run,
                   Machine& machine,
                   Communicator& ranks,
                   const CommBenchOptions& options,
                   CommBench& bench) {
  const std::unique_ptr<Communicator> silence = make_silent(ranks);
  Backend& backend = *machine.backend;
  Steps with(run, backend, &ranks), without(run, backend, silence.get());
  // Copies of the whole model, whatever the grid; a batch may be too small for that.
  const bool plainly = run.batch.slots >= ranks.size();
  const Run part = part_of(
      run, plainly ? slots_of(run.batch.slots, ranks.rank(), ranks.size()) : SlotRange{0, 1});
  Steps plain(part, backend, nullptr);
  const auto count = static_cast<size_t>(parameter_count(run.table));
  const Buffer sums = allocate_host(count * sizeof(float), "an all-reduce");
  const auto sum = [&] { plain_sum(ranks, reinterpret_cast<float*>(sums.data()), count); };

  // The first rank alone, with as many threads as all have together.
  const bool one_host = bench.ranks_per_host == ranks.size();
  ComputeConfig all_threads = with_choice(run.config.compute, machine.choice);
  all_threads.threads = static_cast<int>(machine.team.size()) * ranks.size();
  std::unique_ptr<Machine> whole;
  std::unique_ptr<Steps> one;
  Run alone = run;
  alone.config.parallel.pp = 1;
  if (one_host && ranks.is_root()) {
    whole = std::make_unique<Machine>(all_threads);
    one = std::make_unique<Steps>(alone, *whole->backend, nullptr);
  }

  const double steps = static_cast<double>(options.steps);
  std::vector<double> seconds[4];
  for (int64_t round = 0; round <= options.rounds; ++round) {
    const double taken[] = {seconds_together(ranks, [&] { with.take(options.steps); }),
                            seconds_together(ranks, [&] { without.take(options.steps); }),
                            seconds_together(ranks, [&] { plain.take(options.steps, sum); }),
                            seconds_together(ranks, [&] {
                              if (one) one->take(options.steps);
                            })};
    if (round == 0) continue;  // cold
    for (size_t kind = 0; kind < 4; ++kind) seconds[kind].push_back(taken[kind] / steps);
  }
  bench.with = median(seconds[0]);
  bench.without = median(seconds[1]);
  if (plainly) bench.plain = median(seconds[2]);
  if (one_host) bench.one_rank = median(seconds[3]);
}

}  // namespace

std::unique_ptr<Communicator> make_silent(Communicator& ranks) {
  return std::make_unique<SilentRanks>(ranks);
}

CommBench bench_comm(const Run& run,
                     Machine& machine,
                     World& world,
                     const CommBenchOptions& options) {
  Communicator& ranks = world.ranks();
  if (ranks.size() == 1)
    fail_user("one rank says nothing to anybody; start it by mpirun -n 2 isoflop bench comm ...");
  require_grid(run, ranks.size());
  CommBench bench;
  bench.ranks_per_host = count_ranks_per_host(ranks);
  measure_wire(ranks, bench);
  measure_messages(run, *machine.backend, ranks, bench);
  measure_steps(run, machine, ranks, options, bench);
  double alone = 0;
  for (const CommOp& op : bench.operations)
    if (op.name != "plain all-reduce") alone += op.seconds;
  bench.hidden = std::min(1.0, 1 - (bench.with - bench.without) / alone);

  ranks.barrier();  // all at once, as in a step
  bench.memory_bytes_per_s = -slowest(ranks, -measure_bandwidth(*machine.backend));
  const GridShape grid = fit_grid(ranks.size(), 1, static_cast<int>(run.config.parallel.pp));
  const StepWork work = work_of(run, grid);
  const double optimizer =
      step_terms(work, {.flops = 1, .memory_bytes_per_s = bench.memory_bytes_per_s},
                 {.link_bytes_per_s = 1, .per_host = ranks.size()})
          .optimizer;
  // Of the copy with the most slots, its bubble included.
  const StepTerms unit = step_terms(work, {.flops = 1, .memory_bytes_per_s = 1e30},
                                    {.link_bytes_per_s = 1e30, .per_host = ranks.size()});
  bench.rank_flops =
      (unit.compute + unit.idle_slots + unit.bubble) / std::max(bench.without - optimizer, 1e-9);
  bench.simulated = simulate_steps(run.config.model, run.table, run.batch, grid,
                                   {bench.rank_flops, bench.memory_bytes_per_s},
                                   {.link_bytes_per_s = bench.wire_bytes_per_s,
                                    .network_bytes_per_s = bench.wire_bytes_per_s,
                                    .latency = bench.latency,
                                    .per_host = bench.ranks_per_host})
                        .seconds;
  return bench;
}

}  // namespace isoflop
