#include "scaling/hardware.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

namespace isoflop {

namespace {

/// Peaks and memories are the vendor's (the 2:4-sparse rates that stand beside them are twice as
/// high). Links: NVLink one way, a 400 or 200 Gb/s network card per device, and the device's
/// memory. Prices are rounded list prices of rented devices, meant to be replaced.
const std::array<Hardware, 4> kDevices = {{
    {"", "h100", 1, 1, 989e12, 80e9, 450e9, 50e9, 3.35e12, 2.5},
    {"", "h200", 1, 1, 989e12, 141e9, 450e9, 50e9, 4.8e12, 3.5},
    {"", "a100", 1, 1, 312e12, 80e9, 300e9, 25e9, 2.04e12, 1.5},
    {"", "a100-40gb", 1, 1, 312e12, 40e9, 300e9, 25e9, 1.56e12, 1.2},
}};

}  // namespace

double expected_mfu(double parameters) {
  const double along = std::log(parameters / 124e6) / std::log(6.7e9 / 124e6);
  return std::clamp(0.4 + 0.1 * along, 0.05, 0.5);
}

double Hardware::training_flops(double parameters) const {
  if (peak_flops == 0) return measured_flops;
  return peak_flops * expected_mfu(parameters) * static_cast<double>(devices());
}

Hardware parse_hardware(const std::string& text) {
  constexpr int64_t kMost = 1'000'000;
  std::string_view rest = text;
  int64_t counts[2] = {1, 1};
  int given = 0;
  for (; given < 2; ++given) {
    int64_t count = 0;
    const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), count);
    const size_t used = static_cast<size_t>(end - rest.data());
    if (error != std::errc() || used >= rest.size() || rest[used] != 'x') break;
    if (count < 1 || count > kMost)
      fail_user("--hardware {}: {} is no number of devices", text, count);
    counts[given] = count;
    rest.remove_prefix(used + 1);
  }
  std::string names;
  for (const Hardware& device : kDevices) {
    names += (names.empty() ? "" : ", ") + device.device;
    if (rest != device.device) continue;
    Hardware hardware = device;
    hardware.name = text;
    hardware.nodes = given == 2 ? counts[0] : 1;
    hardware.per_node = given == 2 ? counts[1] : counts[0];
    return hardware;
  }
  fail_user(
      "--hardware {}: write NODESxDEVICESxNAME such as 64x8xh100, 8xh100 or h100; the names "
      "are {}",
      text, names);
}

}  // namespace isoflop
