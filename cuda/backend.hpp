// The GPU backend: what is there, and how to get one. Linked everywhere: a program built without
// CUDA has a twin of this that finds nothing (absent.cpp). Never needs the driver to start.
#pragma once
#include "ops/backend.hpp"

#include <memory>
#include <string>

namespace isoflop::gpu {

struct DeviceReport {
  bool built = false;     // this program contains CUDA
  int devices = 0;        // that it can compute on
  std::string identity;   // theirs: processes that see the same devices have the same text
  std::string built_for;  // "CUDA 13.0, needs a driver of 580 or later"
  std::string driver;     // "13.0" as the driver has it; empty when there is none
  std::string problem;    // why there is no device, and what to do
};
DeviceReport find_devices();

/// From now on this thread's backends are made on the `which`-th device of the report.
void use_device(int which);
/// On the current device. UserError with DeviceReport's problem when there is none.
std::unique_ptr<Backend> make_gpu_backend();

/// Host memory that a device reads as well; for tests and staging.
Buffer allocate_pinned(size_t bytes, const std::string& what);

}  // namespace isoflop::gpu
