// run.toml: whatever is accepted must resolve and must be written in a form that reads back the
// same.
#include "core/error.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/config/presets.hpp"
#include "pretrain/config/resolve.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace isoflop::fuzz {

std::vector<std::string> seeds() {
  std::vector<std::string> all = {
      "model.layers = 2\nmodel.d_model = 32\nmodel.heads = 2\n[data]\ntrain = [\"a.txt\", 'b']\n"
      "[schedule]\nsteps = 10\nwarmup = \"2steps\"\nbatch_tokens = 4096\n",
      "n_embd = 64\nn_head = 4\n[schedule]\ntokens = \"2.2Gtok\"\ndecay = \"cosine\"\n"
      "[optimizer]\nbetas = [0.9, 0.95]\nlr = 1e-3\n"};
  for (const std::string& name : preset_names())
    all.push_back("[model]\npreset = \"" + name + "\"\n");
  Origins origins;
  const RunConfig config = load_config(std::nullopt, {"schedule.steps=3"}, origins);
  all.push_back(config_to_toml(resolved(config), origins));
  return all;
}

}  // namespace isoflop::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace isoflop;
  try {
    Origins origins, again;
    const RunConfig config =
        resolved(parse_config(fuzz::text_of(data, size), "fuzz.toml", {}, origins));
    const std::string text = config_to_toml(config, {});
    if (config_to_toml(resolved(parse_config(text, "dump.toml", {}, again)), {}) != text)
      fuzz::found("a dump that does not read back the same");
  } catch (const Error&) {
  }
  return 0;
}
