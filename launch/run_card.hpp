// MODEL_CARD.md of a run folder: what was trained, on what, how, and what its quantized files are
// worth. Written at the end of training, and again after each certified export.
#pragma once
#include "launch/context.hpp"

#include <filesystem>
#include <string>

namespace isoflop {

/// `model`: a run folder or a checkpoint in one; nothing is written for any other model. A folder
/// that cannot be written to is noted, no more.
void write_run_card(const std::filesystem::path& model,
                    const std::string& license,
                    const Context& context);

}  // namespace isoflop
