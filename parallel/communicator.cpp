#include "parallel/communicator.hpp"

#include "core/error.hpp"
#include "parallel/mpi_world.hpp"
#include "parallel/tcp_world.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace isoflop {

namespace {

class SelfCommunicator : public Communicator {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }

  Ticket start_exchange(std::span<const Message> sends,
                        std::span<const Message> receives) override {
    ISOFLOP_CHECK(sends.size() == receives.size(), "{} messages to oneself, {} received",
                  sends.size(), receives.size());
    for (size_t i = 0; i < sends.size(); ++i) {
      ISOFLOP_CHECK(
          sends[i].peer == 0 && receives[i].peer == 0 && sends[i].bytes == receives[i].bytes,
          "message {} is not one to oneself", i);
      copy(sends[i].data, receives[i].data, sends[i].bytes);
    }
    return 0;
  }
  Ticket start_all_gather(const void* mine, void* all, size_t bytes) override {
    copy(mine, all, bytes);
    return 0;
  }
  Ticket start_broadcast(void*, size_t, int root) override {
    ISOFLOP_CHECK(root == 0, "there is no rank {}", root);
    return 0;
  }
  Ticket start_barrier() override { return 0; }
  bool done(Ticket) override { return true; }
  void wait(Ticket) override {}
  std::unique_ptr<Communicator> split(int, int) override { return make_self(); }
  WireTotals wire_totals() const override { return {}; }

 private:
  static void copy(const void* from, void* to, size_t bytes) {
    if (bytes > 0 && from != to) std::memmove(to, from, bytes);
  }
};

class SelfWorld : public World {
 public:
  Communicator& ranks() override { return self_; }
  int ranks_sharing_cores() override { return 1; }
  void record_spans(size_t) override {}
  std::vector<WireSpan> spans() override { return {}; }
  FailureVote failed() override { return {}; }
  void abort(int code) override { std::_Exit(code); }

 private:
  SelfCommunicator self_;
};

int number_in_environment(const char* name) {
  const char* const text = std::getenv(name);
  return text ? std::atoi(text) : 0;
}

/// As which mpirun, or srun with MPI, started us; 0: neither did.
int ranks_of_mpi() {
  if (const int ranks = number_in_environment("OMPI_COMM_WORLD_SIZE")) return ranks;
  if (const int ranks = number_in_environment("PMI_SIZE")) return ranks;
  // Under srun --mpi=pmix the number of ranks is Slurm's; sbatch alone starts one program.
  return std::getenv("PMIX_RANK") ? number_in_environment("SLURM_NTASKS") : 0;
}

}  // namespace

int64_t Communicator::max(int64_t value) {
  const std::vector<int64_t> values = gather(value);
  return *std::max_element(values.begin(), values.end());
}

std::vector<int64_t> Communicator::gather(int64_t value) {
  std::vector<int64_t> values(static_cast<size_t>(size()));
  all_gather(&value, values.data(), sizeof(value));
  return values;
}

std::string Communicator::broadcast_text(std::string text, int root) {
  uint64_t bytes = text.size();
  broadcast(&bytes, sizeof(bytes), root);
  text.resize(bytes);
  broadcast(text.data(), bytes, root);
  return text;
}

std::vector<std::string> Communicator::gather_texts(std::string_view text) {
  const std::vector<int64_t> sizes = gather(static_cast<int64_t>(text.size()));
  const auto longest = static_cast<size_t>(*std::max_element(sizes.begin(), sizes.end()));
  std::string mine(text), all(longest * sizes.size(), '\0');
  mine.resize(longest);
  all_gather(mine.data(), all.data(), longest);
  std::vector<std::string> texts;
  for (size_t i = 0; i < sizes.size(); ++i)
    texts.push_back(all.substr(i * longest, static_cast<size_t>(sizes[i])));
  return texts;
}

std::unique_ptr<Communicator> make_self() {
  return std::make_unique<SelfCommunicator>();
}

int launched_ranks() {
  if (const int ranks = ranks_of_mpi(); ranks > 1) return ranks;
  const std::optional<TcpPlace> place = tcp_place();
  return place ? place->size : 1;
}

std::unique_ptr<World> make_world() {
  const int ranks = ranks_of_mpi();
  if (std::unique_ptr<World> world = ranks > 1 ? make_mpi_world() : nullptr) return world;
  if (const std::optional<TcpPlace> place = tcp_place(); place && place->size > 1)
    return make_tcp_world(*place);
  if (ranks > 1)
    fail_user(
        "started as one of {} ranks, but this program was built without MPI; install "
        "libopenmpi-dev and build again, or give each rank RANK, WORLD_SIZE, MASTER_ADDR and "
        "MASTER_PORT",
        ranks);
  return std::make_unique<SelfWorld>();
}

}  // namespace isoflop
