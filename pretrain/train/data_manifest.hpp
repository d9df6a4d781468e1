// RUN/data-manifest.json: which tokens a run learns from, so that it does not go on with others.
#pragma once
#include "pretrain/train/run.hpp"

#include <string>
#include <string_view>

namespace isoflop {

/// Sources with their weights, validation sets, and of each store its path, size and fingerprint.
std::string data_manifest(const Run& run);

/// UserError when the training data of `run` are not those that `stored` (the text of a manifest)
/// tells of: another number of sources or stores, other weights, or other tokens in one. A store
/// may have moved. `name` is that of the file, for messages.
void require_same_data(std::string_view stored, const std::string& name, const Run& run);

/// Size and fingerprint of every store, wherever it lies: what must be the same on all ranks.
std::string data_fingerprints(const Run& run);

}  // namespace isoflop
