// What is told and returned when a command fails.
#pragma once
#include "core/error.hpp"

#include <string>

namespace isoflop {

struct Failure {
  ExitCode code = ExitCode::kDone;
  std::string text;  // empty: nothing to say
};

/// Of the exception that is being handled; call it in a catch block.
Failure current_failure();

}  // namespace isoflop
