#include "pretrain/train/control.hpp"

#include <unistd.h>

namespace isoflop {

bool ControlFiles::take_stop() const {
  return ::unlink(stop_.c_str()) == 0;
}

bool ControlFiles::take_save() const {
  return ::unlink(save_.c_str()) == 0;
}

}  // namespace isoflop
