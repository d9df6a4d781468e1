#include "pretrain/checkpoint/train_state.hpp"

#include "pretrain/checkpoint/json_fields.hpp"

namespace isoflop {

namespace {

namespace j = json_fields;
using Json = nlohmann::ordered_json;

// Version 1 had no guard.
constexpr uint64_t kVersion = 2;
constexpr size_t kMostSteps = 10'000'000;  // in a list of skipped steps

Json guard_json(const GuardState& guard) {
  Json seen = Json::array();
  for (const GuardState::Seen& s : guard.seen) seen.push_back({s.step, s.loss, s.grad_norm});
  return {{"seen", seen},
          {"skipped_steps", guard.skipped},
          {"left_out_steps", guard.left_out},
          {"rewinds", guard.rewinds}};
}

std::vector<int64_t> parse_steps(const Json& object, const char* key, const std::string& file) {
  std::vector<int64_t> steps;
  for (const auto& step : j::array(object, key, file, kMostSteps)) {
    if (!step.is_number_unsigned() || step.get<uint64_t>() > (uint64_t{1} << 62) ||
        (!steps.empty() && step.get<int64_t>() <= steps.back()))
      fail_format("{}: '{}' is not an ascending list of steps", file, key);
    steps.push_back(step.get<int64_t>());
  }
  return steps;
}

GuardState parse_guard(const Json& json, const std::string& file) {
  GuardState guard;
  for (const auto& entry : j::array(json, "seen", file, GuardState::kMostSeen)) {
    if (!entry.is_array() || entry.size() != 3 || !entry[0].is_number_unsigned())
      fail_format("{}: 'seen' is not a list of [step, loss, gradient norm]", file);
    guard.seen.push_back({entry[0].get<int64_t>(), j::real(entry[1], "seen", file),
                          j::real(entry[2], "seen", file)});
  }
  guard.skipped = parse_steps(json, "skipped_steps", file);
  guard.left_out = parse_steps(json, "left_out_steps", file);
  guard.rewinds = static_cast<int64_t>(j::natural(json, "rewinds", file));
  return guard;
}

}  // namespace

void TrainState::add_loss(double loss) {
  if (recent_losses.size() == kRecentLosses) recent_losses.erase(recent_losses.begin());
  recent_losses.push_back(loss);
}

double TrainState::mean_recent_loss() const {
  double sum = 0;
  for (const double loss : recent_losses) sum += loss;
  return recent_losses.empty() ? kNone : sum / static_cast<double>(recent_losses.size());
}

std::string train_state_json(const TrainState& s) {
  const nlohmann::ordered_json json = {
      {"version", kVersion},
      {"step", s.step},
      {"tokens", s.tokens},
      {"seed", s.seed},
      {"slots", s.slots},
      {"optimizer_step", s.optimizer_step},
      {"config_hash", s.config_hash},
      {"last_valid_loss", s.last_valid_loss},  // the library writes NaN as null
      {"best_valid_loss", s.best_valid_loss},
      {"recent_losses", s.recent_losses},
      {"kernel_plan", s.kernel_plan},
      {"guard", guard_json(s.guard)},
  };
  return json.dump(2) + "\n";
}

TrainState parse_train_state(const std::string& text, const std::string& file) {
  const nlohmann::ordered_json json = j::parse_object(text, file);
  const uint64_t version = j::natural(json, "version", file);
  if (version > kVersion)
    fail_format("{}: version {} is newer than this program reads ({}); use a newer isoflop", file,
                version, kVersion);
  const auto count = [&](const char* key) {
    return static_cast<int64_t>(j::natural(json, key, file));
  };
  TrainState s;
  s.step = count("step");
  s.tokens = count("tokens");
  s.seed = j::natural(json, "seed", file, std::numeric_limits<uint64_t>::max());
  s.slots = count("slots");
  s.optimizer_step = count("optimizer_step");
  s.config_hash = j::text(json, "config_hash", file);
  s.last_valid_loss = j::real(j::member(json, "last_valid_loss", file), "last_valid_loss", file);
  s.best_valid_loss = j::real(j::member(json, "best_valid_loss", file), "best_valid_loss", file);
  for (const auto& loss : j::array(json, "recent_losses", file, TrainState::kRecentLosses))
    s.recent_losses.push_back(j::real(loss, "recent_losses", file));
  s.kernel_plan = j::text(json, "kernel_plan", file);
  if (version >= 2) s.guard = parse_guard(j::member(json, "guard", file), file);
  return s;
}

}  // namespace isoflop
