// What ranks lose to talking to each other, from whole steps: with all messages, with none, and
// with a plain all-reduce after the backward pass; beside what the messages take alone, and what
// the wire can do. Under mpirun or srun.
#pragma once
#include "launch/machine.hpp"
#include "parallel/communicator.hpp"
#include "pretrain/train/run.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace isoflop {

struct CommBenchOptions {
  int64_t steps = 5;   // in a row, of each kind, after one that does not count
  int64_t rounds = 5;  // in which the kinds take turns
};

/// One thing that ranks do with messages, alone.
struct CommOp {
  std::string name;
  double bytes = 0;    // sent by the rank that sends most
  double seconds = 0;  // of the slowest rank, median
  double bytes_per_s() const { return bytes / seconds; }
};

struct CommBench {
  double wire_bytes_per_s = 0;     // of a rank to the next, while all do so, each way
  double latency = 0;              // one way, 4 bytes
  std::vector<CommOp> operations;  // gradients, numbers, parameters, plain all-reduce
  // Seconds of a step at the slowest rank, medians over the rounds:
  double with = 0;     // the trainer's messages
  double without = 0;  // messages that take no time and bring nothing
  double together =
      0;              // only losses and squares travel, so ranks wait for the slowest; copies only
  double beside = 0;  // as `without`, while messages are under way that nobody waits for
  double plain = 0;   // each rank for itself, then an all-reduce of all gradients
  double one_rank = 0;  // one rank with the threads of all, the others at rest; 0: several hosts
  // Of copies of the model: 1 - (with - without) / the messages' time alone; below 0 when they cost
  // more than that. Stages and parts wait for each other, which is no matter of hiding. Where
  // `without` lets ranks drift apart, `together` does not: of gradients and parameters alone,
  // 1 - (with - together) / their time.
  std::optional<double> hidden, data_hidden;
  double rank_flops = 0, memory_bytes_per_s = 0;  // of a rank while all compute
  int ranks_per_host = 1;
  double held_up_s_per_byte = 0;  // how `beside` differs from `without`
  double ranks_per_core = 1;      // 1 where each has a core or several
  double simulated = 0;           // seconds of `with` by scaling/simulate.hpp
  double closed_form = 0;         // and by scaling/step_model.hpp
};

/// Collective. Random tokens. UserError for one rank.
CommBench bench_comm(const Run& run,
                     Machine& machine,
                     World& world,
                     const CommBenchOptions& options);

}  // namespace isoflop
