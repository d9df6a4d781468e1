// run.toml: whatever is accepted must resolve and must be written in a form that reads back the
// same.
#include "core/error.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/fields.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/config/presets.hpp"
#include "pretrain/config/resolve.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <algorithm>

namespace isoflop::fuzz {
namespace {

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

/// What is wrong with the values is said by key, what is wrong with the file by file and line.
bool names_a_key(std::string_view message) {
  return std::ranges::any_of(
      config_fields(), [&](const Field& field) { return message.find(field.key) != message.npos; });
}

void run(std::string_view bytes) {
  Origins origins, again;
  RunConfig config;
  try {
    config = resolved(parse_config(bytes, "fuzz.toml", {}, origins));
  } catch (const Error& error) {
    if (names_a_key(error.what())) fail_user("fuzz: {}", error.what());
    throw;
  }
  const std::string text = config_to_toml(config, {});
  if (config_to_toml(resolved(parse_config(text, "dump.toml", {}, again)), {}) != text)
    found("a dump that does not read back the same");
}

const Registered target({"config",
                         seeds,
                         run,
                         {"pretrain/config/load.cpp", "pretrain/config/toml_file.cpp",
                          "pretrain/config/value.cpp"}});

}  // namespace
}  // namespace isoflop::fuzz
