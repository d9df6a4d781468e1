#include "parallel/nccl.hpp"

#include "core/error.hpp"

#if ISOFLOP_NCCL
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <nccl.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

namespace isoflop {

namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kLookPause = std::chrono::microseconds(50);
constexpr auto kDefaultPatience = std::chrono::minutes(10);

/// The functions we use, found in the library at run time.
struct Nccl {
  decltype(&ncclGetVersion) get_version = nullptr;
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) init_rank = nullptr;
  decltype(&ncclCommSplit) split = nullptr;
  decltype(&ncclCommFinalize) finalize = nullptr;
  decltype(&ncclCommDestroy) destroy = nullptr;
  decltype(&ncclCommAbort) abort = nullptr;
  decltype(&ncclCommGetAsyncError) async_error = nullptr;
  decltype(&ncclGetErrorString) error_string = nullptr;
  decltype(&ncclGetLastError) last_error = nullptr;
  decltype(&ncclGroupStart) group_start = nullptr;
  decltype(&ncclGroupEnd) group_end = nullptr;
  decltype(&ncclSend) send = nullptr;
  decltype(&ncclRecv) recv = nullptr;
  decltype(&ncclAllGather) all_gather = nullptr;
  decltype(&ncclBroadcast) broadcast = nullptr;
  std::string missing;  // why the library cannot be used; empty when it can

  Nccl() {
    void* library = ::dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    if (!library) library = ::dlopen(ISOFLOP_NCCL_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
      missing = ::dlerror();
      return;
    }
    const auto find = [&](auto& function, const char* name) {
      function =
          reinterpret_cast<std::remove_reference_t<decltype(function)>>(::dlsym(library, name));
      if (!function && missing.empty()) missing = std::string("it has no ") + name;
    };
    find(get_version, "ncclGetVersion");
    find(get_unique_id, "ncclGetUniqueId");
    find(init_rank, "ncclCommInitRankConfig");
    find(split, "ncclCommSplit");
    find(finalize, "ncclCommFinalize");
    find(destroy, "ncclCommDestroy");
    find(abort, "ncclCommAbort");
    find(async_error, "ncclCommGetAsyncError");
    find(error_string, "ncclGetErrorString");
    find(last_error, "ncclGetLastError");
    find(group_start, "ncclGroupStart");
    find(group_end, "ncclGroupEnd");
    find(send, "ncclSend");
    find(recv, "ncclRecv");
    find(all_gather, "ncclAllGather");
    find(broadcast, "ncclBroadcast");
  }

  std::string words(ncclResult_t result, ncclComm_t comm) const {
    const char* const last = last_error(comm);
    return fmt::format("{}{}", error_string(result),
                       last && *last ? fmt::format(" ({})", last) : std::string());
  }
};

const Nccl& nccl() {
  static const Nccl library;
  if (!library.missing.empty())
    fail_user("NCCL cannot be used: {}; install it, or put its folder on LD_LIBRARY_PATH",
              library.missing);
  return library;
}

void check_cuda(cudaError_t error, const char* what) {
  if (error != cudaSuccess) fail_io("{} failed: {}", what, cudaGetErrorString(error));
}

/// The device of a group and what it computes in.
struct Place {
  int device = 0;
  cudaStream_t queue = nullptr;  // null: the host takes care of the order
};

class NcclCommunicator : public Communicator {
 public:
  /// `make` starts the making of a communicator, which goes on without blocking.
  template <class Make>
  NcclCommunicator(
      const Make& make, int rank, int size, std::chrono::milliseconds patience, Place place)
      : rank_(rank), size_(size), place_(place) {
    cudaSetDevice(place_.device);  // without a driver, NCCL has the words for it
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    settle(make(&comm_, &config), "joining the group", Clock::now() + patience);
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
    check_cuda(cudaEventCreateWithFlags(&computed_, cudaEventDisableTiming), "an event");
    check_cuda(cudaMalloc(&nothing_, 1 + static_cast<size_t>(size)), "memory of the device");
  }
  ~NcclCommunicator() override {
    for (const Work& work : under_way_) forget(work);
    if (failed_.empty() && comm_) nccl().abort(comm_);  // never waits for the others
    if (nothing_) cudaFree(nothing_);
    if (computed_) cudaEventDestroy(computed_);
    if (stream_) cudaStreamDestroy(stream_);
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Ticket start_exchange(std::span<const Message> sends,
                        std::span<const Message> receives) override {
    const std::lock_guard lock(mutex_);
    Work work = open();
    std::vector<Message> out, in;  // with memory of the device
    for (const Message& message : sends)
      out.push_back(
          {message.peer, staged(work, message.data, message.bytes, true, false), message.bytes});
    for (const Message& message : receives)
      in.push_back(
          {message.peer, staged(work, message.data, message.bytes, false, true), message.bytes});
    settle(nccl().group_start(), "an exchange");
    for (const Message& m : out)
      if (m.bytes > 0) post(nccl().send(m.data, m.bytes, ncclUint8, m.peer, comm_, stream_));
    for (const Message& m : in)
      if (m.bytes > 0) post(nccl().recv(m.data, m.bytes, ncclUint8, m.peer, comm_, stream_));
    settle(nccl().group_end(), "an exchange");
    for (const Message& m : out) totals_.sent_bytes += m.bytes;
    return close(std::move(work));
  }
  Ticket start_all_gather(const void* mine, void* all, size_t bytes) override {
    const std::lock_guard lock(mutex_);
    Work work = open();
    const auto ranks = static_cast<size_t>(size_);
    const void* from = staged(work, const_cast<void*>(mine), bytes, true, false);
    void* const to = staged(work, all, bytes * ranks, false, true);
    settle(nccl().all_gather(from, to, bytes, ncclUint8, comm_, stream_), "a gathering");
    totals_.sent_bytes += bytes * (ranks - 1);
    return close(std::move(work));
  }
  Ticket start_broadcast(void* data, size_t bytes, int root) override {
    const std::lock_guard lock(mutex_);
    Work work = open();
    void* const at = staged(work, data, bytes, rank_ == root, rank_ != root);
    settle(nccl().broadcast(at, at, bytes, ncclUint8, root, comm_, stream_), "a broadcast");
    if (rank_ == root) totals_.sent_bytes += bytes;
    return close(std::move(work));
  }
  Ticket start_barrier() override {
    const std::lock_guard lock(mutex_);
    Work work = open();
    auto* const bytes = static_cast<char*>(nothing_);
    settle(nccl().all_gather(bytes, bytes + 1, 1, ncclUint8, comm_, stream_), "a barrier");
    return close(std::move(work));
  }
  bool done(Ticket ticket) override {
    const std::lock_guard lock(mutex_);
    look();
    return ticket <= finished_;
  }
  void wait(Ticket ticket) override {
    if (queue_waits(ticket)) return;
    const Clock::time_point start = Clock::now();
    while (!done(ticket)) std::this_thread::sleep_for(kLookPause);
    const std::lock_guard lock(mutex_);
    totals_.wait_seconds += std::chrono::duration<double>(Clock::now() - start).count();
  }
  std::unique_ptr<Communicator> split(int color, int key) override {
    // Who goes where is agreed on first: a group wants to know its size and our place in it.
    std::vector<int64_t> mine = {color, key}, all(2 * static_cast<size_t>(size_));
    all_gather(mine.data(), all.data(), 2 * sizeof(int64_t));
    int members = 0, before = 0;
    for (int r = 0; r < size_; ++r) {
      const int64_t their_color = all[2 * static_cast<size_t>(r)];
      const int64_t their_key = all[2 * static_cast<size_t>(r) + 1];
      if (their_color != color) continue;
      ++members;
      before += their_key < key || (their_key == key && r < rank_);
    }
    const auto make = [&](ncclComm_t* part, ncclConfig_t* config) {
      return nccl().split(comm_, color, key, part, config);
    };
    return std::make_unique<NcclCommunicator>(make, before, members, kDefaultPatience, place_);
  }
  WireTotals wire_totals() const override {
    const std::lock_guard lock(mutex_);
    return totals_;
  }

 private:
  struct Work {
    cudaEvent_t started = nullptr, finished = nullptr;
    struct Staged {
      void *device, *host;
      size_t bytes;
      bool back;
    };
    std::vector<Staged> staged;
  };

  /// Behind all that the queue has got so far.
  Work open() {
    require_alive();
    check_cuda(cudaSetDevice(place_.device), "choosing a device");  // on any thread
    look();
    if (place_.queue) {
      check_cuda(cudaEventRecord(computed_, place_.queue), "an event");
      check_cuda(cudaStreamWaitEvent(stream_, computed_, 0), "an event");
    }
    Work work;
    check_cuda(cudaEventCreate(&work.started), "an event");
    check_cuda(cudaEventCreate(&work.finished), "an event");
    check_cuda(cudaEventRecord(work.started, stream_), "an event");
    return work;
  }
  static void forget(const Work& work) {
    cudaEventDestroy(work.started);
    cudaEventDestroy(work.finished);
  }

  /// Has the queue wait in the host's place, where it can.
  bool queue_waits(Ticket ticket) {
    const std::lock_guard lock(mutex_);
    look();
    if (ticket <= finished_) return true;
    const Work& work = under_way_[ticket - finished_ - 1];
    if (!place_.queue || !work.staged.empty()) return false;
    check_cuda(cudaStreamWaitEvent(place_.queue, work.finished, 0), "an event");
    return true;
  }

  /// `memory`, or memory of the device in its place; `in`: filled from it, `back`: copied to it.
  void* staged(Work& work, void* memory, size_t bytes, bool in, bool back) {
    if (bytes == 0) return nullptr;
    cudaPointerAttributes attributes = {};
    check_cuda(cudaPointerGetAttributes(&attributes, memory), "looking at memory");
    if (attributes.type == cudaMemoryTypeDevice || attributes.type == cudaMemoryTypeManaged)
      return memory;
    void* device = nullptr;
    check_cuda(cudaMallocAsync(&device, bytes, stream_), "memory of the device");
    if (in)
      check_cuda(cudaMemcpyAsync(device, memory, bytes, cudaMemcpyHostToDevice, stream_), "a copy");
    work.staged.push_back({device, memory, bytes, back});
    return device;
  }

  Ticket close(Work work) {
    for (const Work::Staged& piece : work.staged) {
      if (piece.back)
        check_cuda(
            cudaMemcpyAsync(piece.host, piece.device, piece.bytes, cudaMemcpyDeviceToHost, stream_),
            "a copy");
      check_cuda(cudaFreeAsync(piece.device, stream_), "memory of the device");
    }
    check_cuda(cudaEventRecord(work.finished, stream_), "an event");
    under_way_.push_back(std::move(work));
    return finished_ + under_way_.size();
  }

  /// Work ends in the order it was started.
  void look() {
    while (!under_way_.empty()) {
      const cudaError_t state = cudaEventQuery(under_way_.front().finished);
      if (state == cudaErrorNotReady) break;
      check_cuda(state, "a message");
      const Work& work = under_way_.front();
      float milliseconds = 0;
      check_cuda(cudaEventElapsedTime(&milliseconds, work.started, work.finished), "a message");
      totals_.busy_seconds += milliseconds * 1e-3;
      forget(work);
      under_way_.pop_front();
      ++finished_;
    }
    if (under_way_.empty()) return;
    ncclResult_t state = ncclSuccess;
    nccl().async_error(comm_, &state);
    if (state != ncclSuccess && state != ncclInProgress) give_up(state, "a message");
  }

  void post(ncclResult_t result) {
    if (result != ncclSuccess && result != ncclInProgress) give_up(result, "a message");
  }

  /// Calls return before they are through; this waits until they are, which takes no time but for
  /// the first ones.
  void settle(ncclResult_t result,
              const char* what,
              Clock::time_point end = Clock::now() + kDefaultPatience) {
    while (result == ncclInProgress) {
      if (Clock::now() >= end) {
        abort();
        failed_ = fmt::format("rank {} of {}: {} by NCCL took too long; is a rank missing?", rank_,
                              size_, what);
        throw IoError(failed_);
      }
      std::this_thread::sleep_for(kLookPause);
      nccl().async_error(comm_, &result);
    }
    if (result != ncclSuccess) give_up(result, what);
  }

  [[noreturn]] void give_up(ncclResult_t result, const char* what) {
    failed_ = fmt::format("rank {} of {}: {} by NCCL failed: {}", rank_, size_, what,
                          nccl().words(result, comm_));
    abort();
    throw IoError(failed_);
  }
  void abort() {
    if (comm_) nccl().abort(comm_);
    comm_ = nullptr;
  }
  void require_alive() const {
    if (!failed_.empty()) throw IoError(failed_);
  }

  int rank_, size_;
  Place place_;
  ncclComm_t comm_ = nullptr;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t computed_ = nullptr;  // what the next message has to come behind
  void* nothing_ = nullptr;         // what a barrier says: a byte of ours, then one of each rank
  std::string failed_;
  mutable std::mutex mutex_;
  std::deque<Work> under_way_;
  Ticket finished_ = 0;  // all up to this one
  WireTotals totals_;
};

}  // namespace

std::string nccl_version() {
  try {
    int version = 0;
    nccl().get_version(&version);
    return fmt::format("NCCL {}.{}.{}", version / 10000, version / 100 % 100, version % 100);
  } catch (const UserError& error) {
    return error.what();
  }
}

void require_nccl() {
  nccl();
}

std::string nccl_group_id() {
  ncclUniqueId id;
  const ncclResult_t result = nccl().get_unique_id(&id);
  if (result != ncclSuccess) fail_io("NCCL made no group: {}", nccl().words(result, nullptr));
  return std::string(id.internal, sizeof(id.internal));
}

std::unique_ptr<Communicator> make_nccl(
    const std::string& id, int rank, int size, std::chrono::milliseconds patience, void* queue) {
  ncclUniqueId group;
  if (id.size() != sizeof(group.internal))
    fail_user("{} bytes are not the id of an NCCL group, which has {}", id.size(),
              sizeof(group.internal));
  std::memcpy(group.internal, id.data(), id.size());
  const auto make = [&](ncclComm_t* comm, ncclConfig_t* config) {
    return nccl().init_rank(comm, size, group, rank, config);
  };
  Place place{.queue = static_cast<cudaStream_t>(queue)};
  cudaGetDevice(&place.device);
  return std::make_unique<NcclCommunicator>(make, rank, size, patience, place);
}

int nccl_devices() {
  int devices = 0;
  return cudaGetDeviceCount(&devices) == cudaSuccess ? devices : 0;
}

}  // namespace isoflop

#else

namespace isoflop {

namespace {

[[noreturn]] void refuse() {
  fail_user(
      "this program was built without NCCL; build it with g++ where the CUDA Toolkit and nccl.h "
      "are");
}

}  // namespace

std::string nccl_version() {
  return "off";
}

void require_nccl() {
  refuse();
}

std::string nccl_group_id() {
  refuse();
}

std::unique_ptr<Communicator> make_nccl(
    const std::string&, int, int, std::chrono::milliseconds, void*) {
  refuse();
}

int nccl_devices() {
  return 0;
}

}  // namespace isoflop
#endif
