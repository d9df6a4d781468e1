// From a config to a Run: builds or opens the data, settles what depends on it (vocabulary, steps),
// and checks everything that can be checked before work starts.
#pragma once
#include "pretrain/train/run.hpp"

#include <atomic>
#include <functional>

namespace isoflop {

struct PrepareOptions {
  fs::path folder;                               // the run folder; exists
  std::function<void(const std::string&)> note;  // remarks and progress of long parts
  const std::atomic<bool>* stop = nullptr;       // ends the building of stores
  int threads = 0;
  bool reuse = false;  // a run that goes on: take the stores that are in RUN/data
  bool writes = true;  // false: another rank has prepared the folder
};

/// Of a resolved config.

/// `config` as load_config gives it. Text is tokenized once into RUN/data; a later call finds it
/// there.
Run prepare_run(RunConfig config, Origins origins, const PrepareOptions& options);

/// A run that was prepared before, to look at: opens what is there and builds nothing. UserError
/// when its data are gone.
Run open_run(RunConfig config, Origins origins, const fs::path& folder);

/// The same without data: the vocabulary is what the config says or the tokenizer will have, the
/// stores are empty. For --dry-run; nothing is written.
Run plan_run(RunConfig config, Origins origins, const fs::path& folder);

/// What a config draws its sequences from: the token files it names, or the stores that a run with
/// this folder has built from its text. UserError when they are not there. Nothing is built.
std::vector<SampledSource> open_sources(const RunConfig& config,
                                        const fs::path& folder,
                                        const Tokenizer* tokenizer);

/// Bytes of the text that `paths` name; 0 for what cannot be told beforehand (standard input).
/// Token files that do not say are taken for 4 bytes a token.
double text_bytes(const std::vector<std::string>& paths);

}  // namespace isoflop
