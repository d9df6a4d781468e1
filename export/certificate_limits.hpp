// How far a file may be from the model it was made of, by the type of its weights: one table.
#pragma once
#include "formats/gguf.hpp"
#include "pretrain/config/run_config.hpp"

namespace isoflop {

struct CertificateLimits {
  BlockType type;
  double mean_kl;           // nats per token, at most
  double p99_kl;            // nats, at most
  double perplexity_ratio;  // at most
  double top1_agreement;    // at least
  double logit_difference;  // at most, of any logit; infinity: not judged
  bool greedy;              // no greedy mismatch but those that noise excuses
};

/// The row of a type; that of Q4_0 for types we read and do not write.
const CertificateLimits& certificate_limits(BlockType type);

/// What the whole file is judged by: the type with the fewest bits among its matrices.
BlockType coarsest_type(const GgufFile& file);

/// How far the logits of the CPU runtimes may be from exact ones on the same F32 weights.
double runtime_noise(Arch arch);

}  // namespace isoflop
