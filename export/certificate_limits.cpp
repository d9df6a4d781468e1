#include "export/certificate_limits.hpp"

#include <array>
#include <limits>

namespace isoflop {

namespace {

constexpr double kAny = std::numeric_limits<double>::infinity();

// What to expect: files of an 8B model lose, in mean KL, 0.0014 as Q8_0, 0.0055 as Q6_K, 0.011 as
// Q5_K_M, 0.031 as Q4_K_M and 0.072 as Q4_0 (llama.cpp's published table); small models lose more,
// well-trained ones too. The limits are about four times those, so that a sound file of a small
// model passes (docs/results.md has measured ones) and a wrong tensor, which costs whole nats,
// never does. Weights that come from a file of 4 bits are the worst source measured (SmolLM2-135M
// from Q4_1 to Q5_K_M: mean KL 0.072, ratio 1.13): their 16 levels lie askew on those of 5 bits.
constexpr std::array kLimits = {
    //                 type              mean KL  99 %   ratio   top-1  logits  greedy
    CertificateLimits{BlockType::f32, 1e-6, 1e-5, 1.0001, 0.999, 1e-3, true},
    CertificateLimits{BlockType::f16, 1e-3, 1e-2, 1.002, 0.98, kAny, false},
    CertificateLimits{BlockType::bf16, 4e-3, 4e-2, 1.005, 0.96, kAny, false},
    CertificateLimits{BlockType::q8_0, 6e-3, 6e-2, 1.01, 0.95, kAny, false},
    CertificateLimits{BlockType::q6_k, 0.025, 0.25, 1.03, 0.90, kAny, false},
    CertificateLimits{BlockType::q5_k, 0.12, 1.2, 1.20, 0.79, kAny, false},
    CertificateLimits{BlockType::q5_1, 0.12, 1.2, 1.20, 0.79, kAny, false},
    CertificateLimits{BlockType::q5_0, 0.12, 1.2, 1.20, 0.79, kAny, false},
    CertificateLimits{BlockType::q4_k, 0.15, 1.5, 1.20, 0.75, kAny, false},
    CertificateLimits{BlockType::q4_1, 0.25, 2.5, 1.30, 0.70, kAny, false},
    CertificateLimits{BlockType::q4_0, 0.40, 4.0, 1.40, 0.60, kAny, false},
};

double bits_per_weight(const BlockCodec& codec) {
  return 8.0 * static_cast<double>(codec.block_bytes) / static_cast<double>(codec.block_elements);
}

}  // namespace

const CertificateLimits& certificate_limits(BlockType type) {
  for (const CertificateLimits& limits : kLimits)
    if (limits.type == type) return limits;
  return kLimits.back();
}

BlockType coarsest_type(const GgufFile& file) {
  const BlockCodec* coarsest = &block_codec(BlockType::f32);
  for (const GgufTensor& tensor : file.tensors())
    if (tensor.dims.size() > 1 && bits_per_weight(*tensor.codec) < bits_per_weight(*coarsest))
      coarsest = tensor.codec;
  return coarsest->type;
}

// llama.cpp on a CPU reads GELU from a table of F16 values, and keeps keys and values in F16.
// Against double precision on small models: up to 4.2e-3 where there is a GELU, 9e-4 with SwiGLU.
double runtime_noise(Arch arch) {
  return is_llama(arch) ? 3e-3 : 5e-3;
}

}  // namespace isoflop
