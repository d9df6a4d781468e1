// Folding: a model with multipliers in its forward pass becomes a plain one whose weights carry
// them. All are constants per tensor or per row, so nothing is lost but float rounding (facts of
// each in fold.cpp).
#pragma once
#include "core/param.hpp"
#include "pretrain/config/run_config.hpp"

namespace isoflop {

/// What multiplies the first spec.fold_rows outputs (all when 0) of a tensor.
double fold_factor(const ModelConfig& model, Fold fold);

}  // namespace isoflop
