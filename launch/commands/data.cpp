#include "launch/commands.hpp"
#include "launch/commands/data_verbs.hpp"

namespace isoflop {

std::vector<Command> data_commands() {
  return {
      {"data build", "tokenize text into a token store",
       "isoflop data build --tokenizer tokenizer.json --out train.h5 --valid-out valid.h5 books/",
       declare_data_build},
      {"data inspect", "what token files and texts hold, with examples",
       "isoflop data inspect train.h5 --verify\n  isoflop data inspect corpus.jsonl.zst",
       declare_data_inspect},
      {"data batch", "the exact batch of a step",
       "isoflop data batch runs/first --step 100 --tokenizer runs/first/tokenizer.json",
       declare_data_batch},
      {"data mix", "how often each source of a mixture is read",
       "isoflop data mix run.toml --sequences 100000", declare_data_mix}};
}

}  // namespace isoflop
