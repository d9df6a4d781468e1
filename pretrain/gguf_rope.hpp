// Llama 3.1's rotary scaling in a GGUF file: no keys, but a tensor of what the runtime divides each
// pair's frequency by.
#pragma once
#include "pretrain/config/run_config.hpp"

#include <span>
#include <string_view>
#include <vector>

namespace isoflop::gguf {

inline constexpr std::string_view kRopeDivisors = "rope_freqs.weight";  // (rotary_dim / 2), F32

/// One divisor a pair: 1 for fast ones, the factor for slow ones.
std::vector<float> rope_divisors(const ModelConfig& config);

/// Sets the llama3 scaling whose divisors these are; false when no factor and original context (a
/// power of two) give them to float's precision. `config` has its rotary base and head size.
bool set_rope_divisors(ModelConfig& config, std::span<const float> divisors);

}  // namespace isoflop::gguf
