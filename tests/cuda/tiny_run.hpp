// A run of a few small steps for a device: bytes of a made-up text, two slots of two micro-batches
// of one sequence.
#pragma once
#include "core/file.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/train/prepare.hpp"

#include <fmt/format.h>

namespace isoflop::test {

inline constexpr int64_t kTinySteps = 4;

/// `others_prepare`: another rank makes the folder's files, which are there.
inline Run tiny_run(const fs::path& folder,
                    const std::string& arch,
                    const std::vector<std::string>& settings,
                    bool others_prepare = false) {
  if (!others_prepare) {
    fs::create_directories(folder);
    std::string text;
    for (int i = 0; i < 200; ++i) text += fmt::format("{} and {} make {}.\n", i, i + 1, 2 * i + 1);
    write_file_atomically(folder / "text.txt", text);
  }
  Origins origins;
  RunConfig config = parse_config(
      fmt::format("[model]\narch = \"{}\"\nlayers = 1\nd_model = 32\nheads = 2\ncontext = 16\n"
                  "[data]\ntrain = [\"{}\"]\nvalid_fraction = 0.02\ntokenizer = \"bytes\"\n"
                  "[schedule]\nsteps = {}\nbatch_tokens = 64\nmicro_batch = 1\nslots = 2\n"
                  "[optimizer]\nlr = 1e-2\nclip = 0.5\n"
                  "[compute]\ndtype = \"bf16\"\nthreads = 1\n"
                  "[eval]\nevery = {}\n"
                  "[checkpoint]\nevery = 2\nkeep = 0\n"
                  "[output]\nhash_every = 1\ntensorboard = false\n",
                  arch, (folder / "text.txt").string(), kTinySteps, kTinySteps),
      "test", settings, origins);
  return prepare_run(
      std::move(config), std::move(origins),
      {.folder = folder, .note = [](auto&) {}, .reuse = others_prepare, .writes = !others_prepare});
}

}  // namespace isoflop::test
