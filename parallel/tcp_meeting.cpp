#include "parallel/tcp_meeting.hpp"

#include "core/error.hpp"
#include "parallel/tcp_sockets.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <random>
#include <sstream>

namespace isoflop {

namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kKeyBytes = 32;
constexpr int kMostRanks = 1 << 16;

/// What both sides of a connection say first.
struct Hello {
  std::array<char, kKeyBytes> key;
  int32_t from, to;
};

std::string random_key() {
  std::random_device device;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", device(), device(), device(), device());
}

const char* text_of(const char* name) {
  const char* const text = std::getenv(name);
  return text && *text ? text : nullptr;
}

int number_of(const char* name, int least, int most) {
  const std::string text = std::getenv(name);
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
    fail_user("{} is \"{}\", and should be a number from {} to {}", name, text, least, most);
  return value;
}

/// "n[03-05,9],m1" begins with n03.
std::string first_node(const std::string& list) {
  const size_t open = list.find_first_of(",[");
  std::string name = list.substr(0, open);
  if (open != std::string::npos && list[open] == '[')
    name += list.substr(open + 1, list.find_first_of("-,]", open) - open - 1);
  return name;
}

/// sbatch itself starts one program, without a step.
std::optional<TcpPlace> slurm_place() {
  for (const char* name : {"SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST",
                           "SLURM_JOB_ID", "SLURM_STEP_ID"})
    if (!text_of(name)) return std::nullopt;
  const int size = number_of("SLURM_STEP_NUM_TASKS", 1, kMostRanks);
  const char* const host = text_of("MASTER_ADDR");
  // Below the ports that the kernel gives away, another one for each step.
  const long step =
      std::atol(std::getenv("SLURM_JOB_ID")) * 16 + std::atol(std::getenv("SLURM_STEP_ID"));
  return TcpPlace{number_of("SLURM_PROCID", 0, size - 1), size,
                  host ? host : first_node(std::getenv("SLURM_STEP_NODELIST")),
                  static_cast<uint16_t>(text_of("MASTER_PORT") ? number_of("MASTER_PORT", 1, 65535)
                                                               : 20000 + step % 12000)};
}

/// "localhost" is either; whoever looks for it tries both.
std::string loopback(const std::string& host) {
  return host == "::1" ? host : "127.0.0.1";
}

std::string own_name() {
  char name[256] = {};
  ::gethostname(name, sizeof(name) - 1);
  return name;
}

/// Where a rank listens, as it stands in the store.
struct Entry {
  int size;
  uint16_t port;
  std::string address, host;
};

class Meeting {
 public:
  Meeting(const TcpPlace& place, std::chrono::milliseconds patience)
      : place_(place), patience_(patience), end_(Clock::now() + patience) {}
  ~Meeting() {
    for (const Guest& guest : guests_) ::close(guest.socket);
    for (const TcpSeat& seat : met_.seats)  // those that nobody took over
      if (seat.socket >= 0) ::close(seat.socket);
    if (listener_ >= 0) ::close(listener_);
  }

  TcpMeeting meet() {
    const bool here = is_loopback(place_.host);
    if (place_.rank == 0)
      met_.server =
          std::make_unique<TcpStoreServer>(place_.port, here ? loopback(place_.host) : "");
    TcpStore store(place_.host, place_.port, place_.rank, place_.size, patience_);
    // A rank on the first one's host may have come by the loopback, where the others cannot.
    const std::string own = store.own_host();
    const bool beside = is_loopback(own) && !here;
    listener_ = listen_at(beside ? "" : own, 0);
    if (listener_ < 0) fail_io("cannot listen for other ranks: {}", std::strerror(errno));
    take_key(store.broadcast(
        "key", place_.rank == 0 ? fmt::format("{} {}", random_key(), place_.size) : ""));
    store.set(name_of(place_.rank),
              fmt::format("{} {} {} {}", place_.size, own_address(listener_).port,
                          beside ? place_.host : own, own_name()));
    expect_same_size(first_size_, 0, place_.host);
    for (int rank = 0; rank < place_.size; ++rank) entries_.push_back(read(store, rank));
    connect();
    return std::move(met_);
  }

 private:
  struct Guest {  // has connected, or was connected to, and has not said all of its hello
    int socket;
    int rank;  // -1: not known yet
    Hello hello{};
    size_t got = 0;
  };

  static std::string name_of(int rank) { return fmt::format("rank/{}", rank); }

  void take_key(const std::string& text) {
    std::istringstream parts(text);
    std::string key;
    parts >> key >> first_size_;
    if (!parts || key.size() != kKeyBytes)
      fail_io("{} is no store of ours", address_text(place_.host, place_.port));
    std::memcpy(key_.data(), key.data(), kKeyBytes);
  }

  void expect_same_size(int size, int rank, const std::string& host) const {
    if (size != place_.size)
      fail_user("WORLD_SIZE is {} for rank {} on {}, and {} for rank {} on {}", size, rank, host,
                place_.size, place_.rank, own_name());
  }

  Entry read(TcpStore& store, int rank) const {
    Entry entry{};
    try {
      std::istringstream text(store.get(name_of(rank)));
      text >> entry.size >> entry.port >> entry.address >> entry.host;
    } catch (const IoError& error) {
      fail_io("rank {} of {} did not come: {}", rank, place_.size, error.what());
    }
    expect_same_size(entry.size, rank, entry.host);
    return entry;
  }

  /// To all lower ranks; the higher ones come to us.
  void connect() {
    for (const Entry& entry : entries_) met_.seats.push_back({-1, entry.host});
    for (int rank = 0; rank < place_.rank; ++rank) {
      const Entry& to = entries_[static_cast<size_t>(rank)];
      const int socket = connect_until(to.address, to.port, end_);
      if (socket < 0)
        fail_io("rank {} of {} cannot reach rank {} on {} at {}", place_.rank, place_.size, rank,
                to.host, address_text(to.address, to.port));
      guests_.push_back({socket, rank});
      say_hello(guests_.back());
    }
    for (int missing = place_.size - 1; missing > 0;) {
      std::vector<pollfd> all = {{listener_, POLLIN, 0}};
      for (const Guest& guest : guests_) all.push_back({guest.socket, POLLIN, 0});
      if (::poll(all.data(), all.size(), milliseconds_until(end_)) == 0) fail_missing();
      for (size_t i = guests_.size(); i-- > 0;) {
        if (!all[i + 1].revents) continue;
        const bool whole = listen_to(guests_[i]);
        if (whole && seat(guests_[i])) --missing;
        if (whole) guests_.erase(guests_.begin() + static_cast<std::ptrdiff_t>(i));
      }
      if (!all[0].revents) continue;
      const int socket = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (socket >= 0) guests_.push_back({socket, -1});
    }
  }

  void say_hello(const Guest& guest) {
    Hello hello{key_, place_.rank, guest.rank};
    transfer(guest.socket, true, &hello, sizeof(hello), end_);
  }

  /// True when all is said, or nothing more will be.
  static bool listen_to(Guest& guest) {
    const ssize_t got = ::recv(guest.socket, reinterpret_cast<char*>(&guest.hello) + guest.got,
                               sizeof(Hello) - guest.got, MSG_DONTWAIT);
    if (got > 0) guest.got += static_cast<size_t>(got);
    return got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR) || guest.got == sizeof(Hello);
  }

  /// Hangs up on strangers, and on a second one of a rank.
  bool seat(Guest& guest) {
    const Hello& hello = guest.hello;
    const bool known = guest.got == sizeof(Hello) && hello.key == key_ && hello.to == place_.rank &&
                       (guest.rank < 0 ? hello.from > place_.rank && hello.from < place_.size
                                       : hello.from == guest.rank);
    if (!known && guest.rank >= 0)
      fail_io("rank {} on {} hung up on rank {} of {}; was rank {} started twice?", guest.rank,
              entries_[static_cast<size_t>(guest.rank)].host, place_.rank, place_.size,
              place_.rank);
    if (!known || met_.seats[static_cast<size_t>(hello.from)].socket >= 0) {
      ::close(guest.socket);
      return false;
    }
    if (guest.rank < 0) {
      guest.rank = hello.from;
      say_hello(guest);
      no_delay(guest.socket);
    }
    met_.seats[static_cast<size_t>(guest.rank)].socket = guest.socket;
    return true;
  }

  [[noreturn]] void fail_missing() const {
    for (int rank = 0; rank < place_.size; ++rank)
      if (rank != place_.rank && met_.seats[static_cast<size_t>(rank)].socket < 0)
        fail_io("rank {} of {} on {} did not connect to rank {} in time", rank, place_.size,
                entries_[static_cast<size_t>(rank)].host, place_.rank);
    fail_io("the ranks did not meet in time");
  }

  const TcpPlace place_;
  const std::chrono::milliseconds patience_;
  const Clock::time_point end_;
  std::array<char, kKeyBytes> key_{};
  int first_size_ = 0;  // WORLD_SIZE of the first rank
  std::vector<Entry> entries_;
  std::vector<Guest> guests_;
  TcpMeeting met_;
  int listener_ = -1;
};

}  // namespace

std::optional<TcpPlace> tcp_place() {
  for (const char* name : {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"})
    if (!text_of(name)) return slurm_place();
  const int size = number_of("WORLD_SIZE", 1, kMostRanks);
  return TcpPlace{number_of("RANK", 0, size - 1), size, std::getenv("MASTER_ADDR"),
                  static_cast<uint16_t>(number_of("MASTER_PORT", 1, 65535))};
}

TcpMeeting tcp_meet(const TcpPlace& place, std::chrono::milliseconds patience) {
  return Meeting(place, patience).meet();
}

}  // namespace isoflop
