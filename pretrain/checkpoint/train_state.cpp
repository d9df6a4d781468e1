#include "pretrain/checkpoint/train_state.hpp"

#include "pretrain/checkpoint/json_fields.hpp"

namespace isoflop {

namespace {

constexpr uint64_t kVersion = 1;

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
      {"extra", s.extra},
  };
  return json.dump(2) + "\n";
}

TrainState parse_train_state(const std::string& text, const std::string& file) {
  namespace j = json_fields;
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
  s.extra = j::text(json, "extra", file);
  return s;
}

}  // namespace isoflop
