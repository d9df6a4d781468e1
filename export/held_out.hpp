// The text on which a file is compared with its source.
#pragma once
#include "datasets/tokenizer.hpp"
#include "eval/compare.hpp"

#include <string>
#include <vector>

namespace isoflop {

struct HeldOutText {
  std::string description;  // for people: "runs/a/data/valid.h5"
  std::vector<Window> windows;
};

struct HeldOutRequest {
  const ModelSource& source;
  const Tokenizer* tokenizer = nullptr;  // the source's; null: it has none
  std::vector<std::string> texts;        // files, folders, globs; may be empty
  int64_t tokens = 0;
};

/// About `tokens` tokens, spread evenly over the first of these that there is: the texts, the
/// validation store of the run that the source comes from, and a text that the model itself writes
/// from its separator (at temperature 1, always the same), which takes the whole model in memory.
HeldOutText find_held_out(const HeldOutRequest& request, Backend& backend, ThreadTeam& team);

}  // namespace isoflop
