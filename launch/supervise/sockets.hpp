// The few socket calls that supervision needs.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

/// A listening TCP socket on a free port, on all interfaces or on the loopback alone; IoError.
int listen_on_free_port(bool everywhere);
int port_of(int socket);
/// A connected socket, or -1 when nobody answers within `seconds`.
int connect_within(const std::string& address, int port, double seconds);
/// False when the other side is gone. Waits while its buffer is full, a second at most.
bool send_all(int socket, std::string_view text);
/// IPv4 addresses of this host, the loopback left out.
std::vector<std::string> own_addresses();
std::string own_host_name();
/// The first IPv4 address of this host in a network, "10.0.0.0/8", or at an interface, "eth0";
/// IoError when it has none.
std::string own_address_in(const std::string& network);
/// A port that nothing listens on at the moment, at any address.
int free_port();

}  // namespace isoflop
