// Shape and dtype checks of every argument struct; each backend calls check(args) first, so a
// kernel may assume what the struct's comments say. A failure is our own bug and throws
// std::logic_error.
//
// Checked: shapes against each other; activations of one dtype among f32, bf16, f16, f64, c128, and
// state (parameters' vectors, gradients, statistics) in that dtype's state dtype; strides that do
// not overlap rows; data present unless empty; tokens, targets and positions in range; outputs that
// may not be inputs. Row statistics, vectors and optimizer tensors are contiguous.
#pragma once
#include "ops/activation.hpp"
#include "ops/attention.hpp"
#include "ops/embedding.hpp"
#include "ops/loss.hpp"
#include "ops/matmul.hpp"
#include "ops/norm.hpp"
#include "ops/optimizer.hpp"
#include "ops/rope.hpp"
#include "ops/rounding.hpp"

namespace isoflop {

/// The dtype of gradients and statistics beside these activations: f32 for 16-bit floats, else the
/// same.
DType state_dtype_of(DType activation);

void check(const EmbeddingForward&);
void check(const EmbeddingBackward&);
void check(const Matmul&);
void check(const MatmulGradInput&);
void check(const MatmulGradWeight&);
void check(const MatmulGelu&);
void check(const MatmulGeluGradInput&);
void check(const LayerNormForward&);
void check(const LayerNormBackward&);
void check(const RmsNormForward&);
void check(const RmsNormBackward&);
void check(const Rope&);
void check(const AttentionForward&);
void check(const AttentionBackward&);
void check(const GeluForward&);
void check(const GeluBackward&);
void check(const SwigluForward&);
void check(const SwigluBackward&);
void check(const SoftCap&);
void check(const CrossEntropy&);
void check(const AdamW&);
void check(const StepNumbers&);
void check(const BlockRounding&);
void check(const StateProduct&);
void check(const WeightedSum&);

/// For copy and add: same shape and dtype.
void check_same(View from, View to);

}  // namespace isoflop
