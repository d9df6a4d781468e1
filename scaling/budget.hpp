// One dial: from a time to a run. Measures this machine on the models themselves, then takes the
// largest of a ladder of shapes that sees enough tokens per parameter in the time: 20, the rule of
// thumb of Hoffmann et al. 2022 (approaches 1 and 2). Everything it decides is written into the
// config, so the run itself is as reproducible as any.
#pragma once
#include "ops/backend.hpp"
#include "pretrain/config/run_config.hpp"

#include <functional>
#include <string>

namespace isoflop {

inline constexpr double kTokensPerParameter = 20;
/// For runs of minutes, whose parameters are mostly embeddings: on two cores in three minutes, 12
/// tokens per parameter reach 1.95 bits per byte where 28 (a smaller model) end at 2.2
/// (docs/results.md).
inline constexpr double kTokensPerParameterInMinutes = 10;
/// Repeating the text loses little up to about 4 times and some beyond (Muennighoff et al. 2023).
inline constexpr double kMostEpochs = 8;

struct BudgetChoice {
  RunConfig config;  // model, batch, rate and steps filled in
  int64_t parameters = 0;
  double tokens = 0;        // that the steps make
  double tokens_per_s = 0;  // measured
  double seconds = 0;       // what training should take
  double epochs = 0;
  bool limited_by_text = false;  // a larger model would fit the time, but not the text
};

/// Fills in `base` (data, seed, compute and architecture are kept) for `seconds` of training on
/// text of `text_bytes` bytes (0 = unknown). `note` hears what is measured. UserError when not even
/// the smallest shape fits.
BudgetChoice choose_for_budget(const RunConfig& base,
                               double seconds,
                               double text_bytes,
                               double tokens_per_parameter,
                               Backend& backend,
                               const std::function<void(const std::string&)>& note);

/// Training speed of a resolved config (vocabulary set) on random tokens: whole steps for about
/// `seconds`, their median. Random tokens cost what real ones do.
double measure_tokens_per_s(const RunConfig& config, Backend& backend, double seconds);

}  // namespace isoflop
