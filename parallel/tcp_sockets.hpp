// The few socket calls that ranks without MPI meet by. None waits longer than until `end`.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

namespace isoflop {

using SocketTime = std::chrono::steady_clock::time_point;

int milliseconds_until(SocketTime end);
/// A connected socket, or -1. Does not try twice.
int connect_until(const std::string& host, uint16_t port, SocketTime end);
/// A listening socket at an IPv4 or IPv6 address, "" for all of this host; port 0: a free one. -1,
/// with errno, when that cannot be.
int listen_at(const std::string& address, uint16_t port);
struct SocketAddress {
  std::string host;  // in numbers
  uint16_t port = 0;
};
/// This side's.
SocketAddress own_address(int socket);
/// For people: "n1:29500", "[::1]:29500".
std::string address_text(const std::string& host, uint16_t port);
/// False when the time is over or the other side is gone.
bool transfer(int socket, bool sends, void* data, size_t bytes, SocketTime end);
void no_delay(int socket);
/// "localhost", 127.0.0.1, ::1: whoever says so means ranks of this host alone.
bool is_loopback(const std::string& host);

}  // namespace isoflop
