#include "parallel/tcp_store.hpp"

#include "core/error.hpp"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <thread>

namespace isoflop {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
constexpr const char* kHere = "127.0.0.1";

/// Runs `work` in processes of their own, as ranks 1 to size - 1; the caller is rank 0. True when
/// all of them ended well.
bool with_processes(int size, const std::function<bool(int rank)>& work) {
  std::vector<pid_t> children;
  for (int rank = 1; rank < size; ++rank) {
    const pid_t child = ::fork();
    if (child == 0) {
      bool good = false;
      try {
        good = work(rank);
      } catch (const std::exception&) {
      }
      ::_exit(good ? 0 : 1);
    }
    children.push_back(child);
  }
  bool good = work(0);
  for (const pid_t child : children) {
    int status = 0;
    ::waitpid(child, &status, 0);
    good &= WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  return good;
}

/// A port that was free a moment ago.
uint16_t free_port() {
  return TcpStoreServer(0).port();
}

TEST(TcpStore, BringsProcessesTogetherWhoeverComesFirst) {
  for (const int size : {1, 2, 5}) {
    const uint16_t port = free_port();
    std::unique_ptr<TcpStoreServer> server;  // of rank 0, until all are done
    EXPECT_TRUE(with_processes(size, [&](int rank) {
      if (rank == 0) {  // the others are trying already
        std::this_thread::sleep_for(milliseconds(30));
        server = std::make_unique<TcpStoreServer>(port);
      }
      TcpStore store(kHere, port, rank, size, seconds(60));
      bool good = store.broadcast("id", rank == 0 ? "the id" : "") == "the id";
      const std::vector<std::string> all =
          store.gather("sizes", std::string(static_cast<size_t>(1000 * rank), 'x'));
      for (int r = 0; r < size; ++r)
        good &= all[static_cast<size_t>(r)] == std::string(static_cast<size_t>(1000 * r), 'x');
      return good;
    }));
  }
}

TEST(TcpStore, KeepsAnyBytesAndTheNewestOfThem) {
  const TcpStoreServer server(0);
  TcpStore store(kHere, server.port(), 0, 1, seconds(60));
  const std::string bytes("a\0b\xff", 4), large(kStoreMostBytes, 'y');
  store.set("k", bytes);
  EXPECT_EQ(store.get("k"), bytes);
  store.set("k", large);
  EXPECT_EQ(store.get("k"), large);
  store.set("", "");
  EXPECT_EQ(store.get(""), "");
}

std::string error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const IoError& error) {
    return error.what();
  }
  return "";
}

TEST(TcpStore, NamesWhoDidNotCome) {
  const TcpStoreServer server(0);
  TcpStore store(kHere, server.port(), 0, 2, milliseconds(50));
  const std::string error = error_of([&] { store.gather("start", ""); });
  EXPECT_NE(error.find("rank 1 of 2 did not come"), std::string::npos) << error;
  EXPECT_NE(error.find(std::to_string(server.port())), std::string::npos) << error;
}

TEST(TcpStore, SaysWhenNobodyIsThereOrThePortIsTaken) {
  const std::string alone = error_of([] { TcpStore(kHere, free_port(), 3, 4, milliseconds(50)); });
  EXPECT_NE(alone.find("rank 3 of 4 found nobody at 127.0.0.1:"), std::string::npos) << alone;
  const TcpStoreServer server(0);
  const std::string taken = error_of([&] { TcpStoreServer again(server.port()); });
  EXPECT_NE(taken.find("cannot be listened on"), std::string::npos) << taken;
}

TEST(TcpStore, DropsStrangersAndServesOn) {
  const TcpStoreServer server(0);
  TcpStore store(kHere, server.port(), 0, 1, seconds(60));
  const int stranger = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(server.port());
  ::inet_pton(AF_INET, kHere, &address.sin_addr);
  ASSERT_EQ(::connect(stranger, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  const std::string words("s\xff\xff\xff\xff\xff\xff\xff\xff", 9);  // of four gigabytes
  ASSERT_EQ(::send(stranger, words.data(), words.size(), 0), 9);
  char byte = 0;
  EXPECT_LE(::recv(stranger, &byte, 1, 0), 0);  // hung up on
  ::close(stranger);
  store.set("k", "v");
  EXPECT_EQ(store.get("k"), "v");
}

}  // namespace
}  // namespace isoflop
