// What a model's loss will be from its size and its tokens: published laws by name, and a user's
// own fit. Pure mathematics: a law knows no shapes, only which parameters it counts (count.hpp).
//
// Parametric laws (Hoffmann et al. 2022, section 3.3; C = 6 N D):
//   L(N, D) = E + A / N^alpha + B / D^beta
//   N_opt = G (C/6)^a, D_opt = (C/6)^b / G,
//   G = (alpha A / (beta B))^(1 / (alpha + beta)), a = beta / (alpha + beta), b = 1 - a
// N is in parameters, D in tokens, L in nats per token of the text and tokenizer it was fitted on.
#pragma once
#include "scaling/count.hpp"

#include <string>
#include <vector>

namespace isoflop {

struct LawTerms {
  double E = 0, A = 0, B = 0, alpha = 0, beta = 0;

  double loss(double parameters, double tokens) const;
};

struct LawOptimum {
  double parameters = 0;  // by the law's own count
  double tokens = 0;
  double loss = 0;
};

/// What minimizes the loss at 6 N D = flops.
LawOptimum optimum_of(const LawTerms& terms, double flops);
/// Sizes and tokens that are each other's optimum, whatever the budget.
double optimal_tokens(const LawTerms& terms, double parameters);
double optimal_parameters(const LawTerms& terms, double tokens);

/// How many times the optimal tokens a model of `size_ratio` times the optimal size needs for the
/// same loss; infinite when it never gets there. Tokens times size is what it costs.
double tokens_ratio_at_equal_loss(const LawTerms& terms, double size_ratio);

/// Least 6 N D + 2 N D_inference among the models of loss `loss` (Sardana et al. 2024, eq. 2):
/// smaller and longer trained, the more they are going to be asked. UserError when no model
/// reaches the loss.
LawOptimum inference_optimum(const LawTerms& terms, double loss, double inference_tokens);

/// Repeated tokens and excess parameters are worth less (Muennighoff et al. 2023, eq. 5 and 6).
struct RepeatTerms {
  double tokens = 15.387756;     // R*_D
  double parameters = 5.309743;  // R*_N
};
/// Fresh tokens that `tokens` out of `unique` ones are worth.
double effective_tokens(double tokens, double unique, const RepeatTerms& repeats = {});
double data_constrained_loss(const LawTerms& terms,
                             double parameters,
                             double tokens,
                             double unique,
                             const RepeatTerms& repeats = {});
/// Best model for `flops` when only `unique` tokens exist.
LawOptimum data_constrained_optimum(const LawTerms& terms,
                                    double flops,
                                    double unique,
                                    const RepeatTerms& repeats = {});

/// Tokens per step beyond which a larger batch saves no more than a fifth of the steps it could:
/// Zhang et al. 2024, 93.20 N^0.47 sequences of 512 tokens at the optimal number of tokens, N in
/// millions.
double critical_batch_tokens(double parameters);

/// A law, what it counts, and where it was seen to hold.
class LossLaw {
 public:
  std::string name;
  std::string source;
  ParameterCount counts = ParameterCount::one_table;  // its N
  double flops_low = 0, flops_high = 0;               // of the runs it was fitted on
  LawTerms terms;
  bool repeats = false;  // tokens out of `unique` ones count for less
  /// Relative error of the runs it was fitted on, one standard deviation of ln L.
  double residual = 0;
  /// Refits of resampled runs; of a file written by `fit`.
  std::vector<LawTerms> resampled;
  /// Of `cerebras`: L = (f / scale)^exponent + floor with f by training_flops_cerebras, at 20
  /// tokens per parameter. `terms` are not used.
  struct Power {
    double scale = 0, exponent = 0, floor = 0;
  } power;

  bool is_power() const { return power.scale > 0; }
  /// By this law's own count; `unique` 0: all tokens are fresh.
  double loss(double parameters, double tokens, double unique = 0) const;
  LawOptimum optimum(double flops) const;
  double tokens_for(double parameters) const;
  double parameters_for(double tokens) const;
};

/// hoffmann | hoffmann-full | epoch | muennighoff | cerebras, or a file that `fit --out` wrote.
/// UserError names the nearest.
LossLaw find_law(const std::string& name);
std::vector<std::string> law_names();

struct LossRange {
  double low = 0, high = 0;
};
/// 80 % of what to expect. Of a fit: its resampled laws and its residuals. Of a published law: what
/// the published laws say at the same point, widened by the law's own residual; it knows nothing of
/// another tokenizer or text.
LossRange loss_range(const LossLaw& law, double parameters, double tokens, double unique = 0);

/// What `fit --out` writes and find_law reads; the version is 1.
std::string law_to_json(const LossLaw& law);
LossLaw law_from_json(const std::string& text, const std::string& origin);

}  // namespace isoflop
