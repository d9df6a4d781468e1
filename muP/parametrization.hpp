// Parametrization: how initial variance, rate, epsilon, decay and forward multipliers follow from
// the size of a model, so that what was tuned on a small one holds for a large one. One table of
// rules (parametrization.cpp); nothing else in the program knows any.
//
//   sp         nothing depends on the size (save what model.initializer does by itself)
//   mup        maximal update parametrization over the width, for Adam: Yang et al. 2022
//              (arXiv:2203.03466), in the form of their table 8, which tied embeddings need
//   completep  mup and the depth rule of Dey et al. 2025 (arXiv:2505.01618, table 1), exponent
//   alpha;
//              epsilons as corrected by Mlodozeniec et al. 2025 (arXiv:2512.22382)
//
// Symbols: m = width / base width, f = d_ff / base d_ff, l = layers / base layers.
#pragma once
#include "core/param.hpp"

#include <cstdint>
#include <string_view>

namespace isoflop {

enum class ParametrizationKind : uint8_t { sp, mup, completep };

/// UserError names the three.
ParametrizationKind parse_parametrization(std::string_view text);

struct Parametrization {
  ParametrizationKind kind = ParametrizationKind::sp;
  double width = 1;         // m
  double feed_forward = 1;  // f
  double depth = 1;         // l
  double alpha = 1;         // of completep: branches count l^-alpha; 0.5 is depth-muP
  int64_t layers = 0;       // of the model itself: which tensors lie inside its blocks
  /// independent: rate x decay of a matrix does not depend on the width, as the optimum does not
  /// (Wang & Aitchison 2024); otherwise the coefficient is the same for all, and wide matrices
  /// decay slower (published Cerebras-GPT).
  bool independent_decay = true;
  /// Gradients shrink as 1/m, so a fixed epsilon counts ever more; false keeps it fixed (published
  /// Cerebras-GPT).
  bool scaled_epsilon = true;
};

/// Factors on what the base model has, of one tensor. Under Adam the training of W = multiplier x w
/// depends on four of them only through products that `reparametrized` keeps.
struct ParamRule {
  double multiplier = 1;  // in the forward pass
  double variance = 1;    // of the initial entries
  double rate = 1;
  double epsilon = 1;
  double decay = 1;  // of the coefficient that the rate multiplies
};

/// The rule of one tensor. Its multiplier stays 1: those belong to the model, see below.
ParamRule rule_of(const Parametrization& p, const ParamSpec& spec);

/// The same training with the tensor `theta` times smaller and its multiplier so much larger
/// (Yang et al. 2022, lemma J.1, for Adam). Takes table 8 to tables 3 and 9.
ParamRule reparametrized(ParamRule rule, double theta);

/// Writes init_std, lr_scale, eps_scale and decay_scale of every row. On the way in init_std is the
/// base model's.
void parametrize(const Parametrization& p, ParamTable& table);

/// Factors in the forward pass.
struct ForwardMultipliers {
  double embedding = 1;
  double residual = 1;   // on what each branch adds
  double output = 1;     // on the logits
  double attention = 1;  // on q.k / sqrt(head_dim)
};
/// `tuned`: the hyperparameters, the same at every size.
ForwardMultipliers forward_multipliers(const Parametrization& p,
                                       const ForwardMultipliers& tuned,
                                       int64_t head_dim);

}  // namespace isoflop
