// Shapes and recipes for sizes: what a plan may choose from, and how it trains what it chose.
#pragma once
#include "pretrain/config/run_config.hpp"

#include <limits>
#include <string>
#include <vector>

namespace isoflop {

struct ShapeOptions {
  Arch arch = Arch::llama;
  int64_t vocabulary = 0;  // 0: by the width, 1,024 to 32,768
  int64_t context = 0;     // 0: by the width, 128 to 2,048
};

/// Resolved models from about 0.2M to 1T parameters and more whose widths quantize well: multiples
/// of 256 (a super-block of the k-quants) from 256 on, of 32 below. 32 to 128 wide per layer.
std::vector<ModelConfig> planned_shapes(const ShapeOptions& options);

struct Recipe {
  int64_t batch_tokens = 0;
  double lr = 0;
  std::string source;
};
/// Batch and peak rate of runs of minutes to hours, as measured on two cores (docs/results.md):
/// 0.25 D^0.571 tokens, with Step Law's exponent, and 0.7 / width, as hidden matrices need it (μP).
/// A batch is a power of two of sequences, at least eight, and not above `critical_batch`.
Recipe measured_recipe(const ModelConfig& model,
                       double tokens,
                       double critical_batch = std::numeric_limits<double>::infinity());
/// From a billion tokens on Step Law (Li et al. 2025: rate 1.79 N^-0.713 D^0.307, batch 0.58
/// D^0.571, N without embeddings), measured_recipe below.
Recipe recipe_for(const ModelConfig& model, double tokens, double critical_batch);

}  // namespace isoflop
