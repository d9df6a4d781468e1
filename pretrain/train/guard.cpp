#include "pretrain/train/guard.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop {

namespace {

/// A run that skips this many steps in a row has diverged: no update can bring it back.
constexpr int64_t kSkippedInARow = 10;
/// The deviation is taken for at least this part of the mean: a window of equal values is no reason
/// to call the next one a jump.
constexpr double kLeastDeviation = 1e-3;
constexpr const char* kAdvice =
    "try a smaller optimizer.lr, a longer schedule.warmup, or look at the data of these steps with "
    "isoflop data batch";

/// Standard deviations by which `value` lies above the mean of `member` over the entries.
double deviations_above(double value,
                        double GuardState::Seen::*member,
                        const GuardState::Seen* first,
                        const GuardState::Seen* last) {
  const double count = static_cast<double>(last - first);
  double sum = 0, squares = 0;
  for (const auto* s = first; s != last; ++s) sum += s->*member;
  const double mean = sum / count;
  for (const auto* s = first; s != last; ++s) squares += (s->*member - mean) * (s->*member - mean);
  const double deviation =
      std::max(std::sqrt(squares / count), kLeastDeviation * std::abs(mean) + 1e-30);
  return (value - mean) / deviation;
}

void insert(std::vector<int64_t>& steps, int64_t step) {
  const auto at = std::lower_bound(steps.begin(), steps.end(), step);
  if (at == steps.end() || *at != step) steps.insert(at, step);
}

}  // namespace

bool Guard::leaves_out(int64_t step) const {
  return std::binary_search(state_.left_out.begin(), state_.left_out.end(), step);
}

std::string Guard::jump(int64_t step, const StepResult& result) const {
  if (!result.finite())
    return fmt::format("loss {} or gradient norm {} is not finite", result.loss, result.grad_norm);
  if (config_.spikes == "off") return "";
  const GuardState::Seen* const all = state_.seen.data();
  const GuardState::Seen* last = all + state_.seen.size();
  if (last != all && last[-1].step == step - 1) --last;
  const GuardState::Seen* first = last - std::min<ptrdiff_t>(config_.window, last - all);
  if (last - first < config_.window / 2) return "";
  for (const auto& [name, value, member] :
       {std::tuple{"loss", result.loss, &GuardState::Seen::loss},
        std::tuple{"gradient norm", result.grad_norm, &GuardState::Seen::grad_norm}}) {
    const double above = deviations_above(value, member, first, last);
    if (above > config_.threshold)
      return fmt::format("{} {:.4g} is {:.1f} standard deviations above the last {} steps", name,
                         value, above, last - first);
  }
  return "";
}

Verdict Guard::judge(int64_t step, const StepResult& result) {
  const std::string reason = jump(step, result);
  if (reason.empty()) {
    if (config_.spikes == "off") return {};
    state_.seen.push_back({step, result.loss, result.grad_norm});
    if (static_cast<int64_t>(state_.seen.size()) > config_.window + 1)
      state_.seen.erase(state_.seen.begin());
    return {};
  }
  if (config_.spikes == "rewind") return {Fate::rewind, reason};
  insert(state_.skipped, step);
  require_few_in_a_row(step, reason);
  return {Fate::skipped, reason};
}

void Guard::require_few_in_a_row(int64_t step, const std::string& reason) const {
  int64_t in_a_row = 0;
  for (auto it = state_.skipped.rbegin(); it != state_.skipped.rend() && *it == step - in_a_row;
       ++it)
    ++in_a_row;
  if (in_a_row < kSkippedInARow) return;
  throw DivergedError(
      fmt::format("training diverged: {} steps in a row were skipped, the last {}: {}; {}",
                  in_a_row, step, reason, kAdvice));
}

int64_t Guard::last_good_step(int64_t step) const {
  return std::max<int64_t>(0, step - config_.around - 1);
}

void Guard::rewind(int64_t step, const GuardState& before) {
  state_.rewinds = before.rewinds + 1;
  state_.left_out = before.left_out;
  if (state_.rewinds > config_.rewinds)
    throw DivergedError(fmt::format(
        "training diverged: it jumped again at step {} after {} rewinds (guard.rewinds); {}", step,
        before.rewinds, kAdvice));
  for (int64_t s = std::max<int64_t>(1, step - config_.around); s <= step + config_.around; ++s)
    insert(state_.left_out, s);
}

}  // namespace isoflop
