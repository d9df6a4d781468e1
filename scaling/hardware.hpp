// What a plan computes on: accelerators by name, or this machine as measured.
#pragma once
#include <cstdint>
#include <string>

namespace isoflop {

struct Hardware {
  std::string name;  // "64x8xh100", "here"
  std::string device;
  int64_t nodes = 1, per_node = 1;
  double peak_flops = 0;           // of one device, dense bf16; 0: `measured_flops` is all there is
  double memory_bytes = 0;         // of one device
  double link_bytes_per_s = 0;     // between devices of a node, one way
  double network_bytes_per_s = 0;  // between nodes, per device
  double memory_bytes_per_s = 0;   // of one device's own memory
  double usd_per_hour = 0;         // of one device; an assumption, --usd-per-hour replaces it
  double measured_flops = 0;       // of whole training steps here, full-attention convention

  int64_t devices() const { return nodes * per_node; }
  /// FLOP/s of all devices together when training a model of this size, without what it costs to
  /// use several (step_model.hpp).
  double training_flops(double parameters) const;
};

/// "h100", "8xh100", "64x8xh100" (nodes x devices x name). UserError lists the names.
Hardware parse_hardware(const std::string& text);

/// Share of the peak that well-kept trainers reach (full-attention convention, no recomputation):
/// 40 % at 124M parameters, 50 % from 6.7B on, between them linear in ln N; below it falls alike.
double expected_mfu(double parameters);

}  // namespace isoflop
