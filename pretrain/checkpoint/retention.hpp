// Which checkpoints are made, and which of them stay. Both are functions of the step alone.
#pragma once
#include <cstdint>

namespace isoflop {

struct Retention {
  int64_t keep = 2;         // the newest ones that stay; 0 = all
  int64_t keep_every = 0;   // those at multiples of this stay for ever; 0 = none
  bool log_spaced = false;  // steps 0, 1, 2, 4, ..., 512 and multiples of 1000 stay for ever
  int64_t behind = 0;       // one at least this many steps older than the newest stays, too

  bool for_ever(int64_t step) const;
};

/// 0, 1, 2, 4, ..., 512, then multiples of 1000: the steps whose checkpoints the Pythia suite
/// published.
bool is_log_spaced(int64_t step);

}  // namespace isoflop
