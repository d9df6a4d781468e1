#include "eval/compare.hpp"

#include "core/math.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace isoflop {

namespace {

/// What one position adds.
struct Position {
  double reference_nats, other_nats, kl, difference;
  bool same_top, excused;
};

struct Softmax {
  int64_t top = 0;     // the first of the largest
  double log_sum = 0;  // of the exponentials

  explicit Softmax(std::span<const float> logits) {
    for (size_t v = 1; v < logits.size(); ++v)
      if (logits[v] > logits[static_cast<size_t>(top)]) top = static_cast<int64_t>(v);
    const double largest = logits[static_cast<size_t>(top)];
    double sum = 0;
    for (const float logit : logits) sum += std::exp(logit - largest);
    log_sum = largest + std::log(sum);
  }
};

Position compare_row(std::span<const float> p,
                     std::span<const float> q,
                     int32_t next,
                     double noise) {
  const Softmax sp(p), sq(q);
  Position at{};
  double largest = 0;
  for (size_t v = 0; v < p.size(); ++v) {
    const double log_p = p[v] - sp.log_sum, log_q = q[v] - sq.log_sum;
    at.kl += std::exp(log_p) * (log_p - log_q);
    const double difference = std::fabs(double{p[v]} - double{q[v]});
    if (!(difference <= largest)) largest = difference;  // keeps NaN
  }
  // Rounding may leave a sum of nothing but zeros slightly below zero.
  at.kl = at.kl < 0 ? 0 : at.kl;
  at.difference = largest;
  const auto n = static_cast<size_t>(next);
  at.reference_nats = sp.log_sum - p[n];
  at.other_nats = sq.log_sum - q[n];
  at.same_top = sp.top == sq.top;
  at.excused =
      !at.same_top && p[static_cast<size_t>(sp.top)] - p[static_cast<size_t>(sq.top)] < noise;
  return at;
}

std::span<const float> row_of(View logits, int64_t row) {
  return {logits.row<float>(row), static_cast<size_t>(logits.cols)};
}

}  // namespace

double Comparison::perplexity_ratio() const {
  return tokens > 0 ? std::exp((other_nats - reference_nats) / static_cast<double>(tokens)) : 1;
}

double Comparison::top1_agreement() const {
  return tokens > 0 ? static_cast<double>(same_top) / static_cast<double>(tokens) : 1;
}

Comparison compare_models(Reading& reference, Reading& other, double noise, ThreadTeam& team) {
  const std::vector<Window>& windows = reference.windows();
  ISOFLOP_CHECK(&windows == &other.windows(), "what was read are not the same windows");
  Comparison result;
  std::vector<double> divergences;
  std::vector<Position> rows(static_cast<size_t>(kHeadTokens));
  for (size_t w = 0; w < windows.size(); ++w) {
    const int64_t length = static_cast<int64_t>(windows[w].size()) - 1;
    for (int64_t first = 0; first < length; first += kHeadTokens) {
      const int64_t count = std::min(kHeadTokens, length - first);
      const View p = reference.logits(w, first, count), q = other.logits(w, first, count);
      ISOFLOP_CHECK(p.cols == q.cols, "models of {} and {} tokens cannot be compared", p.cols,
                    q.cols);
      team.run(count, [&](int64_t r, int) {
        rows[static_cast<size_t>(r)] = compare_row(
            row_of(p, r), row_of(q, r), windows[w][static_cast<size_t>(first + r + 1)], noise);
      });
      for (int64_t r = 0; r < count; ++r) {
        const Position& at = rows[static_cast<size_t>(r)];
        result.reference_nats += at.reference_nats;
        result.other_nats += at.other_nats;
        result.mean_kl += at.kl;
        result.same_top += at.same_top;
        result.excused += at.excused;
        if (!(at.difference <= result.max_logit_difference))
          result.max_logit_difference = at.difference;
        divergences.push_back(at.kl);
      }
    }
  }
  result.tokens = static_cast<int64_t>(divergences.size());
  if (divergences.empty()) return result;
  result.mean_kl /= static_cast<double>(result.tokens);
  // NaN sorts last, so that it cannot hide.
  std::sort(divergences.begin(), divergences.end(),
            [](double a, double b) { return std::isnan(b) ? !std::isnan(a) : a < b; });
  const auto rank = static_cast<size_t>(div_ceil(99 * result.tokens, 100));
  result.p99_kl = divergences[rank - 1];
  result.max_kl = divergences.back();
  return result;
}

std::vector<Window> spread_windows(uint64_t count,
                                   int64_t context,
                                   int64_t tokens,
                                   const TokenReader& read) {
  std::vector<Window> windows;
  if (count < 2) return windows;
  const uint64_t length =
      std::min<uint64_t>(static_cast<uint64_t>(std::min(context, tokens)), count - 1);
  const uint64_t whole = (count - 1) / length;
  const uint64_t wanted = std::max<uint64_t>(1, static_cast<uint64_t>(tokens) / length);
  const uint64_t taken = std::min(whole, wanted);
  for (uint64_t i = 0; i < taken; ++i) {
    Window window(length + 1);
    read(i * whole / taken * length, window);
    windows.push_back(std::move(window));
  }
  return windows;
}

}  // namespace isoflop
