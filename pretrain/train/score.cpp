#include "pretrain/train/score.hpp"

#include <algorithm>

namespace isoflop {

Score score_tokens(Model& model,
                   uint64_t count,
                   const TokenReader& read,
                   int64_t batch,
                   std::vector<double>* per_token,
                   const std::function<bool()>& keep_going) {
  const auto evaluate = [&](const Batch& windows) {
    const double nats = model.evaluate(windows);
    if (per_token)
      for (int64_t i = 0; i < windows.sequences * windows.length; ++i)
        per_token->push_back(load_scalar(model.losses(), i, 0));
    return nats;
  };
  return score_tokens(evaluate, model.config().context, count, read, batch, keep_going);
}

Score score_tokens(const BatchScorer& evaluate,
                   int64_t context,
                   uint64_t count,
                   const TokenReader& read,
                   int64_t batch,
                   const std::function<bool()>& keep_going) {
  const int64_t predicted = static_cast<int64_t>(count) - 1;
  std::vector<int32_t> window, tokens, targets;
  Score score;
  for (int64_t first = 0; first < predicted;) {
    if (keep_going && !keep_going()) break;
    const int64_t whole = std::min(batch, (predicted - first) / context);
    const int64_t sequences = std::max<int64_t>(whole, 1);
    const int64_t length = whole ? context : predicted - first;  // the last, partial window
    window.resize(static_cast<size_t>(sequences * length + 1));
    read(static_cast<uint64_t>(first), window);
    tokens.assign(window.begin(), window.end() - 1);
    targets.assign(window.begin() + 1, window.end());
    score.nats += evaluate({sequences, length, tokens, targets});
    score.tokens += sequences * length;
    first += sequences * length;
  }
  return score;
}

}  // namespace isoflop
