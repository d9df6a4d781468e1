#include "launch/bench_comm.hpp"

#include "launch/bench_limits.hpp"
#include "launch/step_terms.hpp"
#include "launch/supervise/sockets.hpp"
#include "launch/train_run.hpp"
#include "ops/host_copy.hpp"
#include "parallel/plain_sum.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/train/random_source.hpp"
#include "pretrain/train/shard_exchange.hpp"
#include "scaling/simulate.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <iterator>

namespace isoflop {

namespace {

constexpr double kRate = 1e-4;                  // moves the parameters, lets nothing diverge
constexpr size_t kWireBytes = size_t{4} << 20;  // a message that is worth a link's while
constexpr size_t kPassBytes = size_t{1} << 20;  // a message beside steps; divides kWireBytes
constexpr size_t kNumbers = size_t{64} << 10;   // losses and squares are no more
constexpr int kPings = 51, kTransfers = 11, kTimes = 7;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// A group in which messages of more than `most` bytes, as it is at the time, take no time and
/// bring nothing; 0: none of any size travels. Borrows both.
class ThinRanks final : public Communicator {
 public:
  ThinRanks(Communicator& ranks, const size_t& most) : ranks_(ranks), most_(most) {}
  int rank() const override { return ranks_.rank(); }
  int size() const override { return ranks_.size(); }
  Ticket start_exchange(std::span<const Message> sends,
                        std::span<const Message> receives) override {
    const std::vector<Message> out = thin(sends), in = thin(receives);
    return out.empty() && in.empty() ? kNone : ranks_.start_exchange(out, in);
  }
  Ticket start_all_gather(const void* mine, void* all, size_t bytes) override {
    return travels(bytes) ? ranks_.start_all_gather(mine, all, bytes) : kNone;
  }
  Ticket start_broadcast(void* data, size_t bytes, int root) override {
    return travels(bytes) ? ranks_.start_broadcast(data, bytes, root) : kNone;
  }
  Ticket start_barrier() override { return travels(1) ? ranks_.start_barrier() : kNone; }
  bool done(Ticket ticket) override { return ticket == kNone || ranks_.done(ticket); }
  void wait(Ticket ticket) override {
    if (ticket != kNone) ranks_.wait(ticket);
  }
  std::unique_ptr<Communicator> split(int color, int key) override {
    std::unique_ptr<Communicator> part = ranks_.split(color, key);
    auto thin = std::make_unique<ThinRanks>(*part, most_);
    thin->owned_ = std::move(part);
    return thin;
  }
  WireTotals wire_totals() const override { return ranks_.wire_totals(); }

 private:
  static constexpr Ticket kNone = ~Ticket{0};
  bool travels(size_t bytes) const { return bytes > 0 && bytes <= most_; }
  std::vector<Message> thin(std::span<const Message> all) const {
    std::vector<Message> few;
    std::copy_if(all.begin(), all.end(), std::back_inserter(few),
                 [&](const Message& message) { return travels(message.bytes); });
    return few;
  }

  Communicator& ranks_;
  std::unique_ptr<Communicator> owned_;  // ranks_, of a part
  const size_t& most_;
};

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

/// From every rank to the next, all at once.
class Ring {
 public:
  explicit Ring(Communicator& ranks)
      : ranks_(ranks),
        out_(allocate_host(kWireBytes, "messages")),
        in_(allocate_host(kWireBytes, "messages")) {
    std::memset(out_.data(), 1, kWireBytes);  // pages that were never written are not in memory
  }
  /// first + bytes <= kWireBytes
  Communicator::Ticket start(size_t bytes, size_t first = 0) {
    const int size = ranks_.size(), rank = ranks_.rank();
    const Message to[] = {{(rank + 1) % size, out_.data() + first, bytes}};
    const Message from[] = {{(rank + size - 1) % size, in_.data() + first, bytes}};
    return ranks_.start_exchange(to, from);
  }
  void pass_on(size_t bytes) { ranks_.wait(start(bytes)); }

 private:
  Communicator& ranks_;
  Buffer out_, in_;
};

void measure_wire(Communicator& ranks, CommBench& bench) {
  Ring ring(ranks);
  bench.latency = median_together(ranks, kPings, [&] { ring.pass_on(4); });
  const double seconds = median_together(ranks, kTransfers, [&] { ring.pass_on(kWireBytes); });
  bench.wire_bytes_per_s = static_cast<double>(kWireBytes) / seconds;
}

/// What copies of the model say in a step, without the step.
void measure_messages(const Run& run, Backend& backend, Communicator& ranks, CommBench& bench) {
  const GridShape grid = grid_shape(run.config, ranks.size());
  const Sharding sharding(run.table, ProcessGrid(grid, ranks.rank()));
  const ParamTable table = sharding.part_of_table(run.table);
  const ParamTable gradient_table =
      make_gradient_table(part_of_model(run.config.model, sharding.grid().place().tp, grid.tp));
  GradientTree gradients(gradient_table, backend, run.batch.slots,
                         slots_of(run.batch.slots, sharding.grid().place().dp, grid.dp),
                         held_gradients(run.config.model, sharding));
  ParamBuffer parameters(table, backend.state_dtype(), "parameters",
                         held_parameters(run.config.model, sharding), allocator_of(backend));
  ShardExchange exchange(ranks, ranks, sharding, table, gradient_table, run.batch.slots, gradients,
                         parameters, backend);
  const size_t buckets = sharding.buckets().size();
  std::vector<double> losses(static_cast<size_t>(run.batch.slots));
  const StepTraffic traffic = traffic_of(work_of(run, grid, backend.activation_dtype()));
  const double gradient_seconds = median_together(ranks, kTimes, [&] {
    for (size_t b = 0; b < buckets; ++b)
      if (sharding.in_stage(sharding.buckets()[b].first)) exchange.start_gradients(b);
    exchange.finish_gradients();
  });
  std::vector<double> squares(static_cast<size_t>(exchange.own_chunks()));
  const double number_seconds = median_together(ranks, kTimes, [&] {
    backend.chunk_squares(exchange.counted(), make_view(squares.data(), 1, exchange.own_chunks()));
    exchange.share_numbers(losses, squares);
  });
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
      initialize_parameters(run.table, run.config.data.seed, parameters, step_.sharding());
    });
  }
  /// This rank's, of one step out of many in a row: another one goes before, whose parameters are
  /// under way when the clock starts, as the last one's are when it stops.
  /// `first` is called when the clock starts.
  double seconds(int64_t steps,
                 const std::function<void()>& after = {},
                 const std::function<void()>& first = {}) {
    take(after);
    const double start = now();
    if (first) first();
    for (int64_t i = 0; i < steps; ++i) take(after);
    const double taken = now() - start;
    step_.settle();
    backend_.synchronize();
    return taken / static_cast<double>(steps);
  }

 private:
  void take(const std::function<void()>& after) {
    const StepResult result = step_.compute(taken_++, source_);
    if (after) after();
    step_.apply(kRate, result);
  }

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
  part.config.parallel.pp = part.config.parallel.tp = 1;
  return part;
}

/// Of the host that has the most.
int count_ranks_per_host(Communicator& ranks) {
  const std::vector<std::string> hosts = ranks.gather_texts(own_host_name());
  std::ptrdiff_t most = 0;
  for (const std::string& host : hosts)
    most = std::max(most, std::count(hosts.begin(), hosts.end(), host));
  return static_cast<int>(most);
}

/// How many kPassBytes to pass on beside so many steps: their own messages, but no more than the
/// wire takes in half of the time. The same on all ranks.
size_t passes_of(const CommBench& bench, int64_t steps, double step_seconds) {
  double bytes = 0;
  for (const CommOp& op : bench.operations)
    if (op.name != "plain all-reduce") bytes += op.bytes;
  const double most = step_seconds / 2 * bench.wire_bytes_per_s;
  return std::max<size_t>(
      1, static_cast<size_t>(static_cast<double>(steps) * std::min(bytes, most) / kPassBytes));
}

/// Returns this rank's own seconds of a step without messages.
double measure_steps(const Run& run,
                     Machine& machine,
                     Communicator& ranks,
                     const CommBenchOptions& options,
                     CommBench& bench) {
  size_t most_in_silence = SIZE_MAX, most_together = SIZE_MAX;  // until all have what they need
  ThinRanks silence(ranks, most_in_silence), numbers(ranks, most_together);
  Backend& backend = *machine.backend;
  const bool copies = grid_shape(run.config, ranks.size()).dp == ranks.size();
  Steps with(run, backend, &ranks), without(run, backend, &silence);
  std::optional<Steps> together;
  if (copies) together.emplace(run, backend, &numbers);
  most_in_silence = 0;
  most_together = kNumbers;
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
  alone.config.parallel.pp = alone.config.parallel.tp = 1;
  if (one_host && ranks.is_root()) {
    whole = std::make_unique<Machine>(all_threads);
    one = std::make_unique<Steps>(alone, *whole->backend, nullptr);
  }

  // As much as a step's own messages, and no more than is through before the steps are.
  const std::unique_ptr<Communicator> others = ranks.split(0, ranks.rank());
  Ring ring(*others);
  std::vector<Communicator::Ticket> passes;
  const auto start_passes = [&] {
    for (size_t i = 0; i < passes.size(); ++i)
      passes[i] = ring.start(kPassBytes, i * kPassBytes % kWireBytes);
  };

  constexpr size_t kKinds = 6;
  std::vector<double> seconds[kKinds], own, held_up;
  for (int64_t round = 0; round <= options.rounds; ++round) {
    double mine = 0;
    const auto slowest_of = [&](Steps* steps, const std::function<void()>& after = {},
                                const std::function<void()>& first = {}) {
      ranks.barrier();
      mine = steps ? steps->seconds(options.steps, after, first) : 0;
      return slowest(ranks, mine);
    };
    double taken[kKinds] = {};
    taken[0] = slowest_of(&with);
    taken[1] = slowest_of(&without);
    const double silent = mine;
    if (passes.empty()) passes.resize(passes_of(bench, options.steps, taken[1]));
    taken[5] = slowest_of(&without, {}, start_passes);
    for (const Communicator::Ticket pass : passes) others->wait(pass);
    taken[2] = slowest_of(&plain, sum);
    taken[3] = slowest_of(one.get());
    if (together) taken[4] = slowest_of(&*together);
    if (round == 0) continue;  // cold
    for (size_t kind = 0; kind < kKinds; ++kind) seconds[kind].push_back(taken[kind]);
    own.push_back(silent);
    held_up.push_back((taken[5] - taken[1]) * static_cast<double>(options.steps) /
                      static_cast<double>(passes.size() * kPassBytes));
  }
  bench.held_up_s_per_byte = std::max(0.0, median(held_up));
  bench.with = median(seconds[0]);
  bench.without = median(seconds[1]);
  if (plainly) bench.plain = median(seconds[2]);
  if (one_host) bench.one_rank = median(seconds[3]);
  bench.together = median(seconds[4]);
  bench.beside = median(seconds[5]);
  return median(own);
}

/// What the ranks compute in a second, all together, by what they compute without messages. Stages
/// then wait for nobody.
double flops_of_ranks(
    const Run& run, Communicator& ranks, const StepWork& work, double optimizer, double seconds) {
  const ProcessGrid grid(work.grid, ranks.rank());
  const int64_t slots = slots_of(run.batch.slots, grid.place().dp, work.grid.dp).size();
  double mine[] = {static_cast<double>(slots * run.batch.micro_batches) *
                       micro_batch_flops(run.config.model, run.batch, work.grid, grid.place().pp),
                   std::max(seconds - optimizer, 1e-9)};
  std::vector<double> all(2 * static_cast<size_t>(ranks.size()));
  ranks.all_gather(mine, all.data(), sizeof(mine));
  double flops = 0, busy = 0;
  for (size_t i = 0; i < all.size(); i += 2) {
    flops += all[i];
    busy += all[i + 1];
  }
  return flops / busy;
}

}  // namespace

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
  if (!machine.choice.gpu)
    bench.ranks_per_core = std::max(1.0, static_cast<double>(machine.team.size()) *
                                             world.ranks_sharing_cores() / usable_cores());
  measure_wire(ranks, bench);
  measure_messages(run, *machine.backend, ranks, bench);
  const double own = measure_steps(run, machine, ranks, options, bench);
  const GridShape grid = grid_shape(run.config, ranks.size());
  double alone = 0, data = 0;
  for (const CommOp& op : bench.operations) {
    if (op.name == "plain all-reduce") continue;
    alone += op.seconds;
    if (op.bytes > static_cast<double>(kNumbers)) data += op.seconds;
  }
  if (grid.dp == ranks.size()) {
    bench.hidden = std::min(1.0, 1 - (bench.with - bench.without) / alone);
    bench.data_hidden = std::min(1.0, 1 - (bench.with - bench.together) / data);
  }

  ranks.barrier();  // all at once, as in a step
  bench.memory_bytes_per_s = -slowest(ranks, -measure_bandwidth(*machine.backend));
  const StepWork work = work_of(run, grid, machine.backend->activation_dtype());
  Wires wires{.link_bytes_per_s = bench.wire_bytes_per_s,
              .network_bytes_per_s = bench.wire_bytes_per_s,
              .latency = bench.latency,
              .per_host = bench.ranks_per_host};
  RankSpeed speed{.flops = 1,
                  .memory_bytes_per_s = bench.memory_bytes_per_s,
                  .ranks_per_core = bench.ranks_per_core,
                  .held_up_s_per_byte = bench.held_up_s_per_byte};
  // On shared cores a rank that has done its part leaves its core to the slowest.
  const double busy = bench.ranks_per_core > 1 ? bench.without : own;
  speed.flops = bench.rank_flops =
      flops_of_ranks(run, ranks, work, step_terms(work, speed, wires).optimizer, busy);
  bench.simulated = simulate_steps(work, run.table, speed, wires).seconds;
  bench.closed_form = step_terms(work, speed, wires).step();
  return bench;
}

}  // namespace isoflop
