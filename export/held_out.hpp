// The text on which a file is compared with its source.
#pragma once
#include "eval/compare.hpp"

#include <string>
#include <vector>

namespace isoflop {

struct HeldOutText {
  std::string description;  // for people: "runs/a/data/valid.h5"
  std::vector<Window> windows;
};

/// About `tokens` tokens, spread evenly over the first of these that there is: `texts` (files,
/// folders, globs), the validation store of the run that `model` comes from, and a text that the
/// model itself writes from its separator (at temperature 1, always the same).
HeldOutText find_held_out(LanguageModel& model,
                          const std::vector<std::string>& texts,
                          int64_t tokens,
                          Backend& backend);

}  // namespace isoflop
