#include "scaling/simulate.hpp"

#include "core/error.hpp"
#include "parallel/pipeline_clock.hpp"
#include "parallel/sharding.hpp"
#include "parallel/slot_tree.hpp"
#include "parallel/tensor_cut.hpp"
#include "pretrain/model/architecture.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <utility>

namespace isoflop {

const std::vector<std::string> kSimulatedRows = {"compute", "gradients", "parameters"};

namespace {

enum Row { kCompute, kGradients, kParameters };

/// What a rank has to do with a bucket.
struct BucketBytes {
  double sent_within = 0, sent_between = 0;  // bytes
  double received_within = 0, received_between = 0;
};

/// Of ranks that share matrices the first stands for all: they do the same at the same time.
Wires between_parts(Wires wires, int parts) {
  wires.per_host = std::max<int64_t>(1, wires.per_host / parts);
  return wires;
}

class Steps {
 public:
  Steps(const StepWork& work, const ParamTable& table, const RankSpeed& speed, const Wires& wires)
      : work_(work),
        table_(cut_table(table, 0, work.grid.tp)),
        grid_{.dp = work.grid.dp, .tp = 1, .pp = work.grid.pp},
        speed_(speed),
        wires_(between_parts(wires, work.grid.tp)),
        place_(grid_, 0),
        sharding_(table_, place_),
        free_(ranks(), 0),
        arrival_(ranks(), std::vector<double>(buckets(), 0)) {
    const ModelConfig& model = work.model;
    const double tokens = static_cast<double>(work.batch.micro_tokens()) / work.grid.tp;
    const double head = 6.0 * static_cast<double>(model.vocabulary * model.d_model);
    const StepTerms terms = step_terms(work, speed, wires);
    const double flops = speed.flops / (1 + terms.held_up / terms.compute);
    head_ = head * tokens / flops;
    block_ = (training_flops_per_token(model) - head) * tokens / flops /
             static_cast<double>(model.layers);
    tensor_ = tensor_seconds(work, wires_);
    for (int copy = 0; copy < grid_.dp; ++copy)
      sums_.push_back(static_cast<int64_t>(
          subtrees_of(work.batch.slots, slots_of(work.batch.slots, copy, grid_.dp)).size()));
    for (const int64_t own : sums_) all_sums_ += own;
    for (size_t b = 0; b < buckets(); ++b) shares_.push_back(share_of_block(b));
  }

  SimulatedStep run(int steps) {
    for (int i = 0; i < steps; ++i) take();
    return std::move(step_);
  }

 private:
  size_t ranks() const { return static_cast<size_t>(grid_.ranks()); }
  size_t buckets() const { return sharding_.buckets().size(); }
  int rank_of(int copy, int stage) const { return place_.rank_at({copy, 0, stage}); }
  int host_of(int rank) const { return static_cast<int>(rank / wires_.per_host); }

  void take() {
    posts_.assign(ranks(), std::vector<double>(buckets(), 0));
    busy_ = updating_ = exposed_ = wire_ = waited_ = 0;
    std::vector<double> done(ranks(), 0);
    for (int copy = 0; copy < grid_.dp; ++copy) compute(copy, done);
    const double last_done = *std::max_element(done.begin(), done.end());
    const std::vector<double> summed = exchange(done, kGradients);
    double everyone = *std::max_element(summed.begin(), summed.end());
    if (grid_.ranks() > 1) everyone += 2 * wires_.latency;  // losses and squares, to all
    for (size_t rank = 0; rank < ranks(); ++rank) {
      exposed_ += std::max(0.0, everyone - last_done);
      update(rank, everyone);
    }
    exchange(free_, kParameters);
    const double end = *std::max_element(free_.begin(), free_.end());
    const double mean = static_cast<double>(ranks());
    step_.seconds = end - end_;
    step_.compute = busy_ / mean;
    step_.optimizer = updating_ / mean;
    step_.exposed = exposed_ / mean;
    step_.wire = wire_ / mean;
    step_.bubble = waited_ / mean / step_.seconds;
    end_ = end;
  }

  /// The passes of a copy's slots through its stages.
  void compute(int copy, std::vector<double>& done) {
    const BatchPlan& batch = work_.batch;
    const int64_t micro = slots_of(batch.slots, copy, grid_.dp).size() * batch.micro_batches;
    std::vector<PipeSchedule> schedules;
    std::vector<double> starts;
    for (int stage = 0; stage < grid_.pp; ++stage) {
      schedules.push_back(one_forward_one_backward(stage, grid_.pp, micro));
      starts.push_back(free_[static_cast<size_t>(rank_of(copy, stage))]);
    }
    const double bytes = static_cast<double>(batch.micro_tokens() * work_.model.d_model) *
                         work_.activation_bytes / work_.grid.tp;
    const bool near = grid_.dp < wires_.per_host;
    const double message = bytes / (near ? wires_.link_bytes_per_s : wires_.network_bytes_per_s);
    const PipeTimeline timeline = run_pipeline_clock(
        schedules, starts, grid_.pp > 1 ? message : 0, wires_.latency,
        [&](int stage, const PipeInstruction& what, double start) {
          const size_t rank = static_cast<size_t>(rank_of(copy, stage));
          return what.op == PipeOp::forward ? forward(rank, stage, what.micro == 0, start)
                                            : backward(rank, stage, what.micro + 1 == micro, start);
        });
    std::vector<double> last(starts);
    for (const PipeEvent& event : timeline.events) {
      const auto stage = static_cast<size_t>(event.stage);
      waited_ += std::max(0.0, event.start - last[stage]);
      last[stage] = event.end;
      const bool forward = event.instruction.op == PipeOp::forward;
      show(static_cast<size_t>(rank_of(copy, event.stage)), kCompute,
           fmt::format("{}{}", forward ? "F" : "B", event.instruction.micro), event.start,
           event.end);
    }
    const double drained = *std::max_element(last.begin(), last.end());
    for (int stage = 0; stage < grid_.pp; ++stage) {
      waited_ += drained - last[static_cast<size_t>(stage)];
      done[static_cast<size_t>(rank_of(copy, stage))] = last[static_cast<size_t>(stage)];
    }
  }

  /// Buckets of a stage as the forward pass needs them.
  template <class Visit>
  void in_forward_order(int stage, Visit&& visit) const {
    for (size_t b = buckets(); b-- > 0;)
      if (stage_of(b) == stage) visit(b);
  }
  int stage_of(size_t bucket) const {
    return sharding_.stage_of(sharding_.buckets()[bucket].first);
  }
  /// Of a block's time that its bucket takes, by its parameters. Blocks lie in [0, layers); what
  /// lies before and behind them costs nothing but the head.
  double share_of_block(size_t bucket) const {
    const ParamSpec& first = table_[sharding_.buckets()[bucket].first];
    if (first.stage_block < 0 || first.stage_block >= work_.model.layers) return 0;
    double half = 0, all = 0;
    for (const ParamSpec& spec : table_) {
      if (spec.stage_block != first.stage_block) continue;
      all += static_cast<double>(spec.size());
      if (spec.feed_forward == first.feed_forward) half += static_cast<double>(spec.size());
    }
    return half / all;
  }

  double forward(size_t rank, int stage, bool first, double start) {
    double now = start;
    in_forward_order(stage, [&](size_t b) {
      if (first && arrival_[rank][b] > now) {
        exposed_ += arrival_[rank][b] - now;
        now = arrival_[rank][b];
      }
      const double share = shares_[b];
      now += share * (block_ / 3 + tensor_ / 2);
      busy_ += share * block_ / 3;
    });
    return now;
  }

  double backward(size_t rank, int stage, bool last, double start) {
    double now = start;
    if (stage + 1 == grid_.pp) {
      now += head_;
      busy_ += head_;
    }
    for (size_t b = 0; b < buckets(); ++b) {
      if (stage_of(b) != stage) continue;
      const double share = shares_[b];
      now += share * (block_ * 2 / 3 + tensor_ / 2);
      busy_ += share * block_ * 2 / 3;
      if (last) posts_[rank][b] = now;
    }
    return now;
  }

  double elements_of(size_t bucket, int copy) const {
    double sum = 0;
    const Bucket& range = sharding_.buckets()[bucket];
    for (size_t i = range.first; i < range.last; ++i)
      sum += static_cast<double>(sharding_.rows_of_copy(i, copy).count * table_[i].cols);
    return sum;
  }

  /// What the ranks of a stage send each other of a bucket: subtree sums of the others' rows, or
  /// our rows to everyone. Either way a product of what the sender and the receiver have.
  std::vector<BucketBytes> bytes_of(size_t bucket, Row kind) const {
    const int stage = stage_of(bucket);
    const auto copies = static_cast<size_t>(grid_.dp);
    std::vector<double> out(copies), in(copies, 1);
    std::map<int, std::pair<double, double>> of_host;
    std::pair<double, double> all;
    for (size_t copy = 0; copy < copies; ++copy) {
      const double own = elements_of(bucket, static_cast<int>(copy)) * kStateBytes;
      out[copy] = kind == kGradients ? static_cast<double>(sums_[copy]) : own;
      if (kind == kGradients) in[copy] = own;
      for (auto* sum : {&of_host[host_of(rank_of(static_cast<int>(copy), stage))], &all}) {
        sum->first += out[copy];
        sum->second += in[copy];
      }
    }
    std::vector<BucketBytes> bytes(copies);
    for (size_t copy = 0; copy < copies; ++copy) {
      const auto& [host_out, host_in] = of_host[host_of(rank_of(static_cast<int>(copy), stage))];
      bytes[copy] = {.sent_within = out[copy] * (host_in - in[copy]),
                     .sent_between = out[copy] * (all.second - host_in),
                     .received_within = in[copy] * (host_out - out[copy]),
                     .received_between = in[copy] * (all.first - host_out)};
    }
    return bytes;
  }

  double seconds_of(double within, double between) const {
    return std::max(within > 0 ? within / wires_.link_bytes_per_s : 0,
                    between > 0 ? between / wires_.network_bytes_per_s : 0);
  }

  /// All buckets in the order in which ranks post them; when each rank has all of its own.
  std::vector<double> exchange(const std::vector<double>& done, Row kind) {
    std::vector<double> finished = done;
    if (grid_.dp == 1) return finished;
    std::vector<double> sending(ranks(), 0), receiving(ranks(), 0);
    for (size_t n = 0; n < buckets(); ++n) {
      const size_t b = kind == kGradients ? n : buckets() - 1 - n;
      const int stage = stage_of(b);
      const std::vector<BucketBytes> bytes = bytes_of(b, kind);
      double last_sent = 0, first_post = posts_[static_cast<size_t>(rank_of(0, stage))][b];
      for (int copy = 0; copy < grid_.dp; ++copy) {
        const auto rank = static_cast<size_t>(rank_of(copy, stage));
        const BucketBytes& mine = bytes[static_cast<size_t>(copy)];
        first_post = std::min(first_post, posts_[rank][b]);
        sending[rank] = std::max(sending[rank], posts_[rank][b]) +
                        seconds_of(mine.sent_within, mine.sent_between);
        last_sent = std::max(last_sent, sending[rank]);
      }
      for (int copy = 0; copy < grid_.dp; ++copy) {
        const auto rank = static_cast<size_t>(rank_of(copy, stage));
        const BucketBytes& mine = bytes[static_cast<size_t>(copy)];
        const double begin = std::max(receiving[rank], std::max(first_post, posts_[rank][b]));
        const double in = seconds_of(mine.received_within, mine.received_between);
        receiving[rank] = std::max(last_sent, begin + in) + wires_.latency;
        arrival_[rank][b] = receiving[rank];
        finished[rank] = std::max(finished[rank], receiving[rank]);
        wire_ += receiving[rank] - begin;
        show(rank, kind, fmt::format("bucket {}", b), begin, receiving[rank]);
      }
    }
    return finished;
  }

  /// Sums of subtrees, then AdamW on a rank's own rows, which leave bucket by bucket.
  void update(size_t rank, double start) {
    const GridPlace place = place_.place_of(static_cast<int>(rank));
    const auto seconds = [&](size_t b, double bytes) {
      return elements_of(b, place.dp) * bytes / speed_.memory_bytes_per_s;
    };
    double now = start;
    in_forward_order(place.pp, [&](size_t b) {
      now += seconds(b, 3 * kStateBytes * static_cast<double>(all_sums_ - 1));
    });
    in_forward_order(place.pp,
                     [&](size_t b) { posts_[rank][b] = now += seconds(b, kOptimizerBytes); });
    free_[rank] = now;
    updating_ += now - start;
    show(rank, kCompute, "optimizer", start, free_[rank]);
  }

  void show(size_t rank, Row row, std::string what, double start, double end) {
    step_.events.push_back(
        {static_cast<int>(rank) * work_.grid.tp, row, std::move(what), start, end});
  }

  StepWork work_;
  ParamTable table_;  // of a part
  GridShape grid_;    // of the first part's ranks
  RankSpeed speed_;
  Wires wires_;
  ProcessGrid place_;
  Sharding sharding_;
  // Seconds of a micro-batch, forward and backward; of a block's messages between parts.
  double head_ = 0, block_ = 0, tensor_ = 0;
  std::vector<int64_t> sums_;  // subtrees, per copy
  int64_t all_sums_ = 0;

  std::vector<double> shares_;                // per bucket: share_of_block
  std::vector<double> free_;                  // per rank: may begin its step
  std::vector<std::vector<double>> arrival_;  // per rank and bucket: of parameters
  std::vector<std::vector<double>> posts_;    // per rank and bucket: left for the wire
  double end_ = 0;                            // of the last step
  // Of the step, all ranks.
  double busy_ = 0, updating_ = 0, exposed_ = 0, wire_ = 0, waited_ = 0;
  SimulatedStep step_;
};

}  // namespace

SimulatedStep simulate_steps(const StepWork& work,
                             const ParamTable& table,
                             const RankSpeed& speed,
                             const Wires& wires,
                             int steps) {
  ISOFLOP_CHECK(steps > 1, "one step has none before it");
  SimulatedStep step = Steps(work, table, speed.alone(), wires).run(steps);
  const double compute = step.compute * speed.ranks_per_core, busy = compute + step.optimizer;
  if (speed.ranks_per_core <= 1 || busy <= step.seconds) return step;
  for (TimelineEvent& event : step.events) {
    event.start *= busy / step.seconds;
    event.end *= busy / step.seconds;
  }
  step.seconds = busy;
  step.compute = compute;
  step.bubble = step.exposed = 0;
  return step;
}

}  // namespace isoflop
