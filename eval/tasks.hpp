// Scoring tasks: how likely a model finds each choice (log-likelihoods as lm-evaluation-harness
// computes them), and the accuracies that follow.
#pragma once
#include "core/threads.hpp"
#include "eval/language_model.hpp"
#include "eval/task_items.hpp"

#include <cstdint>
#include <string_view>
#include <vector>

namespace isoflop {

struct TextLikelihood {
  double nats = 0;      // log p(continuation | context), natural, <= 0
  bool greedy = false;  // each of its tokens is the likeliest there
  int64_t tokens = 0;   // of the continuation that were scored
};

/// A text and the tokens of it that count: its last ones.
struct ScoredTokens {
  std::vector<int32_t> ids;
  int64_t scored = 0;
};

/// White space at the context's end moves to the continuation; both are encoded as one text, and
/// what goes beyond the tokens of the context alone is scored. Too long for the model: the front is
/// cut off. An empty context is the separator (or, without one, the first token, unscored). `bos`
/// puts the separator before every context.
ScoredTokens scored_tokens(const Tokenizer& tokenizer,
                           std::string_view context,
                           std::string_view continuation,
                           int64_t most_context,
                           bool bos);

/// In batches of similar lengths, shorter ones padded at the end, where no token looks.
std::vector<TextLikelihood> score_texts(LanguageModel& model,
                                        const std::vector<ScoredTokens>& texts,
                                        ThreadTeam& team);

/// A mean over items and its standard error, the sample deviation over the root of the items.
struct Measure {
  double value = 0;
  double stderr_ = 0;
};

struct ItemResult {
  std::vector<TextLikelihood> choices;
  int by_sum = 0;         // index of the largest sum of log-likelihoods; the first of equals
  int by_characters = 0;  // of the largest sum per character of the answer
  int by_bytes = 0;       // per byte
};

struct TaskResult {
  std::vector<ItemResult> items;
  Measure acc;         // cloze: the model would write the answer itself
  Measure acc_norm;    // per character, as the harness has it
  Measure acc_bytes;   // per byte
  Measure perplexity;  // cloze: exp of minus the mean nats of an answer
};

TaskResult score_task(LanguageModel& model, const Task& task, bool bos, ThreadTeam& team);

}  // namespace isoflop
