// What cuDNN would do on a device that is not there; for tests. It plans for the properties of one,
// up to the point where the driver has to load its kernel.
#pragma once
#include "ops/attention.hpp"

#include <string>

namespace isoflop::gpu {

struct CudnnTakes {
  bool forward = false, backward = false;
};

/// Whether it takes causal attention of a shape, packed as a block has it, on the device that
/// `json` describes (CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION). Where there is no driver, loads
/// the toolkit's stand-in for one, which stays: for a process of its own. UserError where there is
/// neither, or no cuDNN.
CudnnTakes ask_cudnn(const AttentionShape& shape, const std::string& json);

}  // namespace isoflop::gpu
