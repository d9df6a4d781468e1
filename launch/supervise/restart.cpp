#include "launch/supervise/restart.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace isoflop {

namespace {

bool is_refusal(int code) {
  return code == static_cast<int>(ExitCode::kUser) || code == static_cast<int>(ExitCode::kGate) ||
         code == static_cast<int>(ExitCode::kDiverged);
}

bool is_stop(int code) {
  return code == static_cast<int>(ExitCode::kStopped) ||
         code == static_cast<int>(ExitCode::kInterrupted);
}

}  // namespace

Ending judge_ending(int starter_code, const std::vector<int>& rank_codes, bool anyone_met) {
  if (starter_code == 0) return {Outcome::done, 0};
  for (const int code : rank_codes)
    if (is_refusal(code)) return {Outcome::refused, code};
  if (is_refusal(starter_code)) return {Outcome::refused, starter_code};
  if (is_stop(starter_code)) return {Outcome::stopped, starter_code};
  // Nobody was ever started, which another try would not change.
  if (!anyone_met) return {Outcome::refused, static_cast<int>(ExitCode::kIo)};
  return {Outcome::failed, static_cast<int>(ExitCode::kIo)};
}

std::optional<double> RestartBudget::after_failure(bool progress) {
  if (progress) failures_ = 0;
  if (++failures_ > most_) return std::nullopt;
  return std::min(60.0, std::ldexp(1.0, std::min(failures_ - 1, 10)));
}

HostPool::HostPool(std::vector<Host> hosts, int spares) : active_(std::move(hosts)) {
  const auto first = active_.end() - std::min<std::ptrdiff_t>(spares, std::ssize(active_));
  spares_.assign(first, active_.end());
  active_.erase(first, active_.end());
}

bool HostPool::uses(const std::string& name) const {
  return std::any_of(active_.begin(), active_.end(),
                     [&](const Host& host) { return host.name == name; });
}

std::string HostPool::drop(const std::string& name) {
  const auto is_it = [&](const Host& host) { return host.name == name; };
  spares_.erase(std::remove_if(spares_.begin(), spares_.end(), is_it), spares_.end());
  const auto found = std::find_if(active_.begin(), active_.end(), is_it);
  if (found == active_.end()) return "";
  if (spares_.empty()) {
    active_.erase(found);
    return "";
  }
  *found = spares_.front();
  spares_.erase(spares_.begin());
  return found->name;
}

bool HostPool::blame(const std::string& name, bool progress) {
  if (progress) blames_.clear();
  return ++blames_[name] >= 2;
}

}  // namespace isoflop
