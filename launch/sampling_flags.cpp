#include "launch/sampling_flags.hpp"

namespace isoflop {

void add_sampling_flags(Flags& app, SamplingOptions& s) {
  app.add_option("--temperature", s.temperature, "0: always the most likely token")
      ->check(in_range(0.0, 100.0))
      ->capture_default_str();
  app.add_option("--top-k", s.top_k, "draw from the k most likely tokens; 0 = all")
      ->check(in_range(0, 1 << 30));
  app.add_option("--top-p", s.top_p, "draw from the most likely tokens with this much probability")
      ->check(in_range(0.0, 1.0));
  app.add_option("--min-p", s.min_p,
                 "draw from tokens at least this fraction as likely as the likeliest")
      ->check(in_range(0.0, 1.0));
  app.add_option("--repeat-penalty", s.repeat_penalty,
                 "above 1: tokens that came before become less likely")
      ->check(in_range(0.01, 100.0));
  app.add_option("--repeat-window", s.repeat_window, "how many tokens before count for that")
      ->check(in_range(0, 1 << 30))
      ->capture_default_str();
  app.add_option("--seed", s.seed, "another seed, another text");
}

}  // namespace isoflop
