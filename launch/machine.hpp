// The device a command computes on, made here and passed to everything below.
#pragma once
#include "core/threads.hpp"
#include "ops/backend.hpp"
#include "pretrain/config/run_config.hpp"

#include <memory>

namespace isoflop {

/// Type of activations for compute.dtype; "auto" is fp32.
DType activation_dtype(const ComputeConfig& compute);

struct Machine {
  explicit Machine(const ComputeConfig& compute);

  ThreadTeam team;
  std::unique_ptr<Backend> backend;  // goes before the team it runs on
};

}  // namespace isoflop
