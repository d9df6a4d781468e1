// run.toml, and behind a zero byte the assignments of the command line, one a line: whatever is
// accepted must resolve and must be written in a form that reads back the same.
#include "core/error.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/fields.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/config/presets.hpp"
#include "pretrain/config/resolve.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/input_file.hpp"

#include <algorithm>

namespace isoflop::fuzz {
namespace {

std::vector<std::string> seeds() {
  std::vector<std::string> all = {
      "model.layers = 2\nmodel.d_model = 32\nmodel.heads = 2\n[data]\ntrain = [\"a.txt\", 'b']\n"
      "[schedule]\nsteps = 10\nwarmup = \"2steps\"\nbatch_tokens = 4096\n",
      "n_embd = 64\nn_head = 4\n[schedule]\ntokens = \"2.2Gtok\"\ndecay = \"cosine\"\n"
      "[optimizer]\nbetas = [0.9, 0.95]\nlr = 1e-3\nwarmup_iters = 20\n",
      "schedule.steps = 5\n[data]\ntrain = [{ path = \"a.h5\", weight = 0.5 }, { path = 'b.h5', "
      "weight = 1 }]"
      "\nvalid = [{ path = \"v.h5\", name = \"v\" }, \"w.h5\"]\n",
      "schedule.steps = 5\n[[data.valid]]\npath = \"v.h5\"\n",
      "[model]\ninit = \"other\"\n" + std::string(1, '\0') +
          "schedule.steps=3\noutput.name=7\ndata.train=[{ path = \"a\" }]\noptimizer.lr=3e-3"};
  for (const std::string& name : preset_names())
    all.push_back("[model]\npreset = \"" + name + "\"\n");
  Origins origins;
  const RunConfig config = load_config(std::nullopt, {"schedule.steps=3"}, origins);
  all.push_back(config_to_toml(resolved(config), origins));
  return all;
}

std::vector<std::string> refused() {
  const auto assigned = [](const std::string& text) { return std::string(1, '\0') + text; };
  return {"schedule.warmup = 1979-05-27\n",
          "optimizer.betas = [0.9, \"x\"]\n",
          "optimizer.betas = [[0.9], 0.95]\n",
          "optimizer.betas = [\"a\", \"b\"]\n",
          "model.layers = [{ path = \"a\" }]\n",
          "data.train = [{ path = \"a\" }, 3]\n",
          "data.train = [{ weight = 2 }]\n",
          "data.train = [{ path = \"a\", weight = -1 }]\n",
          "schedule.steps = 3\nschedule.tokens = \"1Gtok\"\n",
          "model.preset = \"gpt3-125m\"\nmodel.init = \"other\"\n",
          assigned("steps"),
          assigned("=3"),
          assigned("model.layers=1\rx = 2"),
          assigned("data.train=[{ path = \"a\", weight = 0 }]"),
          assigned("output.name=\xff")};
}

/// What is wrong with the values is said by key, what is wrong with the file by file and line.
bool names_a_key(std::string_view message) {
  return std::ranges::any_of(
      config_fields(), [&](const Field& field) { return message.find(field.key) != message.npos; });
}

/// An assignment is quoted, or the command line is named.
bool says_command_line(std::string_view message) {
  return message.find("command line") != message.npos ||
         message.find("is not an assignment") != message.npos;
}

/// A word of a command line holds no zero byte.
std::vector<std::string> lines_of(std::string_view text) {
  constexpr std::string_view kEnds("\n\0", 2);
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find_first_of(kEnds, at), text.size());
    lines.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

void run(std::string_view bytes) {
  Origins origins, again;
  RunConfig config;
  try {
    const size_t end = std::min(bytes.find('\0'), bytes.size());
    config =
        resolved(load_config(input_file("fuzz.toml", bytes.substr(0, end)),
                             lines_of(bytes.substr(std::min(end + 1, bytes.size()))), origins,
                             [](const std::filesystem::path&) { return std::vector<Setting>(); }));
  } catch (const Error& error) {
    if (names_a_key(error.what()) || says_command_line(error.what()))
      fail_user("fuzz: {}", error.what());
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
                          "pretrain/config/value.cpp"},
                         refused});

}  // namespace
}  // namespace isoflop::fuzz
