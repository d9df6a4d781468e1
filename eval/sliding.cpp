#include "eval/sliding.hpp"

#include "ops/loss.hpp"

#include <algorithm>

namespace isoflop {

Score score_sliding(Model& model,
                    uint64_t count,
                    const TokenReader& read,
                    int64_t stride,
                    int64_t batch,
                    std::vector<double>& per_token) {
  const int64_t context = model.config().context;
  ISOFLOP_CHECK(stride >= 1 && stride <= context, "a stride of {} for a context of {}", stride,
                context);
  const int64_t predicted = static_cast<int64_t>(count) - 1;
  Score score;
  std::vector<int32_t> window, tokens, targets;
  std::vector<std::pair<int64_t, int64_t>> fresh;  // rows that no earlier window scored
  for (int64_t begin = 0, scored = 0; scored < predicted;) {
    tokens.clear();
    targets.clear();
    fresh.clear();
    // Whole windows together; the last one, which may be shorter, alone.
    const int64_t length = std::min(context, predicted - begin);
    int64_t rows = 0;
    do {
      window.resize(static_cast<size_t>(length + 1));
      read(static_cast<uint64_t>(begin), window);
      tokens.insert(tokens.end(), window.begin(), window.end() - 1);
      targets.insert(targets.end(), window.begin() + 1, window.end());
      const int64_t known = scored - begin;
      std::fill_n(targets.begin() + rows, known, kIgnoreTarget);
      fresh.emplace_back(rows + known, rows + length);
      rows += length;
      scored = begin + length;
      begin += stride;
    } while (rows < batch * context && scored < predicted && predicted - begin >= context);
    score.nats += model.evaluate({rows / length, length, tokens, targets});
    for (const auto& [first, last] : fresh)
      for (int64_t row = first; row < last; ++row)
        per_token.push_back(load_scalar(model.losses(), row, 0));
  }
  score.tokens = static_cast<int64_t>(std::max<int64_t>(predicted, 0));
  return score;
}

}  // namespace isoflop
