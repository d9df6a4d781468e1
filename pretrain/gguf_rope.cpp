#include "pretrain/gguf_rope.hpp"

#include "pretrain/model/architecture.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop::gguf {

std::vector<float> rope_divisors(const ModelConfig& config) {
  ModelConfig plain = config;
  plain.rope_scaling = "none";
  std::vector<float> divisors;
  for (int64_t j = 0; j < config.rotary_dim() / 2; ++j)
    divisors.push_back(static_cast<float>(rope_frequency(plain, j) / rope_frequency(config, j)));
  return divisors;
}

bool set_rope_divisors(ModelConfig& config, std::span<const float> divisors) {
  constexpr float kSame = 1e-4f;  // programs compute them in float
  ModelConfig scaled = config;
  scaled.rope_scaling = "llama3";
  scaled.rope_scaling_factor = *std::max_element(divisors.begin(), divisors.end());
  if (!(scaled.rope_scaling_factor >= 1 && scaled.rope_scaling_factor <= 1e6)) return false;
  const auto same = [&](float a, float b) { return std::fabs(a - b) <= kSame * b; };
  for (int64_t context = 1; context <= int64_t{1} << 24; context *= 2) {
    scaled.rope_original_context = context;
    const std::vector<float> expected = rope_divisors(scaled);
    if (!std::equal(divisors.begin(), divisors.end(), expected.begin(), expected.end(), same))
      continue;
    config = scaled;
    return true;
  }
  return false;
}

}  // namespace isoflop::gguf
