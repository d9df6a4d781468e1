// What NCCL is to a GPU, for the emulated device: a communicator whose messages lie in the device's
// memory, which neither the host nor MPI can touch, and go one after another within a group, by MPI
// and without anybody waiting for them. It holds its users to the contract of
// parallel/communicator.hpp: memory must be the device's; what is sent must not change, and what is
// received must not be touched, until wait() - until then it is full of NaN.
#pragma once
#include "parallel/communicator.hpp"
#include "tests/cuda/emulated_device.hpp"

#include <chrono>
#include <deque>
#include <mutex>
#include <set>
#include <thread>

namespace isoflop::test {

class EmulatedWire final : public Communicator {
 public:
  /// Over the ranks of `host`, which is its own. The device outlives it.
  EmulatedWire(std::unique_ptr<Communicator> host, EmulatedDevice& device)
      : EmulatedWire(std::move(host), device, std::make_shared<Mover>()) {}
  ~EmulatedWire() override {
    while (!done(last_)) pause();  // somebody may need what has not left
    mover_->leave(*this);
  }

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }

  Ticket start_exchange(std::span<const Message> sends,
                        std::span<const Message> receives) override {
    Work work;
    device_.touch([&] {
      for (const Message& m : sends) work.sends.push_back(side_of(m, false));
      for (const Message& m : receives) work.receives.push_back(side_of(m, true));
    });
    const std::lock_guard lock(mover_->mutex);
    works_.push_back(std::move(work));
    return ++last_;
  }
  bool done(Ticket ticket) override {
    const std::lock_guard lock(mover_->mutex);
    return ticket <= ended_;
  }
  /// Of all messages up to this one, as a stream waits for another.
  void wait(Ticket ticket) override {
    while (!done(ticket)) pause();
    const std::lock_guard lock(mover_->mutex);
    device_.touch([&] {
      for (; arrived_ < ticket; ++arrived_) {
        arrive(works_.front());
        works_.pop_front();
      }
    });
  }
  std::unique_ptr<Communicator> split(int color, int key) override {
    return std::unique_ptr<Communicator>(
        new EmulatedWire(host_->split(color, key), device_, mover_));
  }
  WireTotals wire_totals() const override { return host_->wire_totals(); }

  // A step has no need of them.
  Ticket start_all_gather(const void*, void*, size_t) override { unused(); }
  Ticket start_broadcast(void*, size_t, int) override { unused(); }
  Ticket start_barrier() override { unused(); }

 private:
  struct Side {
    Message there;                // in the device's memory
    std::vector<std::byte> here;  // what travels
  };
  struct Work {
    std::vector<Side> sends, receives;
    bool started = false;
    Ticket on_host = 0;
  };

  /// The device's own movement of messages: a thread for all groups that come from one.
  struct Mover {
    Mover() : thread([this] { run(); }) {}
    ~Mover() {
      {
        const std::lock_guard lock(mutex);
        ending = true;
      }
      thread.join();
    }
    void run() {
      for (bool on = true; on;) {
        pause();
        const std::lock_guard lock(mutex);
        for (EmulatedWire* wire : wires) wire->move();
        on = !ending;
      }
    }
    void leave(EmulatedWire& wire) {
      const std::lock_guard lock(mutex);
      wires.erase(&wire);
    }

    std::mutex mutex;
    std::set<EmulatedWire*> wires;
    bool ending = false;
    std::thread thread;  // last: it uses everything above
  };

  EmulatedWire(std::unique_ptr<Communicator> host,
               EmulatedDevice& device,
               std::shared_ptr<Mover> mover)
      : host_(std::move(host)), device_(device), mover_(std::move(mover)) {
    const std::lock_guard lock(mover_->mutex);
    mover_->wires.insert(this);
  }

  static void pause() { std::this_thread::sleep_for(std::chrono::microseconds(100)); }
  [[noreturn]] static void unused() { throw std::logic_error("a device's group only exchanges"); }
  static void require(bool holds, const char* what) {
    if (!holds) throw std::logic_error(what);
  }

  Side side_of(const Message& m, bool receive) const {
    require(m.bytes == 0 || device_.owns(m.data, m.bytes), "a message in other memory");
    auto* const data = static_cast<std::byte*>(m.data);
    if (receive) std::memset(data, 0xff, m.bytes);
    return {m, {data, data + m.bytes}};
  }
  static bool unchanged(const Side& side, const std::byte* data) {
    return std::equal(side.here.begin(), side.here.end(), data);
  }
  static void arrive(const Work& work) {
    for (const Side& side : work.sends)
      require(unchanged(side, static_cast<std::byte*>(side.there.data)),
              "a message changed while it was sent");
    for (const Side& side : work.receives) {
      auto* const data = static_cast<std::byte*>(side.there.data);
      require(std::all_of(data, data + side.there.bytes,
                          [](std::byte b) { return b == std::byte{0xff}; }),
              "memory was written to while a message was awaited in it");
      std::copy(side.here.begin(), side.here.end(), data);
    }
  }

  /// Starts the next message once the one before is through.
  void move() {
    while (ended_ < last_) {
      Work& work = works_[ended_ - arrived_];
      if (!work.started) {
        const auto messages = [](std::vector<Side>& sides) {
          std::vector<Message> list;
          for (Side& side : sides)
            list.push_back({side.there.peer, side.here.data(), side.here.size()});
          return list;
        };
        work.on_host = host_->start_exchange(messages(work.sends), messages(work.receives));
        work.started = true;
      }
      if (!host_->done(work.on_host)) return;
      ++ended_;
    }
  }

  std::unique_ptr<Communicator> host_;
  EmulatedDevice& device_;
  std::shared_ptr<Mover> mover_;  // whose mutex guards what follows
  std::deque<Work> works_;        // after those that have arrived
  Ticket last_ = 0, ended_ = 0, arrived_ = 0;
};

}  // namespace isoflop::test
