// The next token out of logits: one function per rule, and what is drawn is a function of the
// logits, the tokens before, (seed, sequence) and the position alone.
//
// Order: penalty, temperature, top-k, top-p, min-p, draw.
#pragma once
#include "core/view.hpp"

#include <cstdint>
#include <span>
#include <vector>

namespace isoflop {

struct SamplingOptions {
  double temperature = 0.8;    // 0: always the likeliest token
  int64_t top_k = 0;           // keep the k likeliest; 0 = all
  double top_p = 1.0;          // keep the smallest set with this much probability
  double min_p = 0.0;          // keep what is at least this fraction as likely as the likeliest
  double repeat_penalty = 1;   // 1 = none
  int64_t repeat_window = 64;  // of the tokens before, prompt included
  uint64_t seed = 1;
  uint32_t sequence = 0;  // texts of one seed that differ
};

struct Candidate {
  double p;  // a logit first, after apply_temperature a probability up to a common factor
  int32_t id;
};
/// Likeliest first from keep_top_k on, equals by id.
using Candidates = std::vector<Candidate>;

Candidates candidates_of(View logits);  // (1, V)
/// Keskar et al. 2019 (CTRL), section 4.1, with the sign respected: logits of the tokens in
/// `recent`, each once, are divided by the penalty where positive and multiplied where negative.
void penalize_repeats(Candidates& all, std::span<const int32_t> recent, double penalty);
/// p_i = exp((l_i - max l) / T): the softmax, not yet divided by its sum.
void apply_temperature(Candidates& all, double temperature);
/// Fan et al. 2018, "Hierarchical neural story generation", section 5. 0 keeps and sorts all.
void keep_top_k(Candidates& all, int64_t k);
/// Holtzman et al. 2020, "The curious case of neural text degeneration", section 3.1.
void keep_top_p(Candidates& sorted, double p);
/// Nguyen et al. 2024, "Turning up the heat: min-p sampling", section 3. At least one stays.
void keep_min_p(Candidates& sorted, double fraction);
/// The inverse of the cumulative distribution at u in [0, 1).
int32_t draw(const Candidates& sorted, double u);

/// `before`: all tokens so far. `position` counts the tokens drawn for this text.
int32_t pick_token(View logits,
                   const SamplingOptions& options,
                   uint64_t position,
                   std::span<const int32_t> before = {});

}  // namespace isoflop
