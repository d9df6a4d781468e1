// Reading run files: precedence, names, types, ranges, and what the messages say.
#include "core/error.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/load.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

RunConfig parse(const std::string& text, const std::vector<std::string>& overrides = {}) {
  Origins origins;
  return parse_config(text, "run.toml", overrides, origins);
}

/// The message of the UserError; empty when there was none.
std::string complaint(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    parse(text, overrides);
  } catch (const UserError& error) {
    return error.what();
  }
  return "";
}

const std::string kMinimal = "[schedule]\nsteps = 10\n";

TEST(ConfigLoad, ReadsEveryKindOfValue) {
  const RunConfig config = parse(R"(
[model]
arch = "llama"
layers = 3
norm_eps = 1e-6
tied_embeddings = false
[data]
train = ["a.h5", "b.h5"]
seed = 7
[schedule]
steps = 12
batch_tokens = 2.048e4
warmup = "375Mtok"
micro_batch = "auto"
[optimizer]
betas = [0.8, 0.99]
lr = 1
)");
  EXPECT_EQ(config.model.arch, Arch::llama);
  EXPECT_EQ(config.model.layers, 3);
  EXPECT_EQ(config.model.norm_eps, 1e-6);
  EXPECT_FALSE(config.model.tied_embeddings);
  EXPECT_EQ(paths_of(config.data.train), (std::vector<std::string>{"a.h5", "b.h5"}));
  EXPECT_EQ(config.data.seed, 7u);
  EXPECT_EQ(config.schedule.steps, 12);
  EXPECT_EQ(config.schedule.batch_tokens, 20480);
  EXPECT_EQ(config.schedule.micro_batch, 0);
  EXPECT_EQ(config.optimizer.beta1, 0.8);
  EXPECT_EQ(config.optimizer.beta2, 0.99);
  EXPECT_EQ(config.optimizer.lr, 1.0);
}

TEST(ConfigLoad, LaterSourcesWin) {
  Origins origins;
  const RunConfig config = parse_config("[model]\npreset = \"gpt3-350m\"\nlayers = 6\nheads = 8\n",
                                        "run.toml", {"model.layers=4"}, origins);
  EXPECT_EQ(config.model.d_model, 1024);
  EXPECT_EQ(config.model.heads, 8);
  EXPECT_EQ(config.model.layers, 4);
  EXPECT_EQ(origins.of["model.d_model"], "preset gpt3-350m");
  EXPECT_EQ(origins.of["model.heads"], "run.toml:4");
  EXPECT_EQ(origins.of["model.layers"], "command line");
  EXPECT_EQ(origins.of.count("optimizer.weight_decay"), 0u);
}

TEST(ConfigLoad, PresetOnTheCommandLineStaysBelowTheFile) {
  const RunConfig config = parse("[model]\nlayers = 5\n", {"model.preset=tiny-llama"});
  EXPECT_EQ(config.model.arch, Arch::llama);
  EXPECT_EQ(config.model.layers, 5);
}

TEST(ConfigLoad, AStrongerLengthReplacesTheWeakerOne) {
  const RunConfig config = parse("", {"model.preset=cerebras-111m", "schedule.tokens=\"2.2Gtok\""});
  EXPECT_EQ(config.schedule.tokens_per_parameter, 0);
  EXPECT_EQ(config.schedule.tokens, 2.2e9);
}

TEST(ConfigLoad, LengthMustBeGivenOnce) {
  EXPECT_NE(complaint("").find("set exactly one of schedule.tokens_per_parameter"),
            std::string::npos);
  const std::string both = complaint("[schedule]\nsteps = 5\ntokens = 1e6\n");
  EXPECT_NE(both.find("schedule.steps"), std::string::npos);
  EXPECT_NE(both.find("schedule.tokens"), std::string::npos);
}

TEST(ConfigLoad, UnknownKeyNamesTheNearest) {
  EXPECT_EQ(complaint("[schedule]\nsteps = 3\nwarmpu = \"1%\"\n"),
            "run.toml:3: unknown key schedule.warmpu; did you mean schedule.warmup?");
  EXPECT_NE(complaint(kMinimal, {"lr=1e-3"}).find("did you mean optimizer.lr?"), std::string::npos);
  EXPECT_NE(complaint(kMinimal, {"optimizer.layers=1"}).find("did you mean model.layers?"),
            std::string::npos);
  EXPECT_NE(complaint(kMinimal, {"xyzzy.plugh=1"}).find("docs/config.md"), std::string::npos);
}

TEST(ConfigLoad, WrongTypeNamesKeyExpectedFoundAndLine) {
  EXPECT_EQ(complaint("[model]\nlayers = \"six\"\n"),
            "run.toml:2: model.layers expects a whole number from 1 to 100000, found text \"six\"");
  EXPECT_EQ(
      complaint("[schedule]\n\nslots = -1\n"),
      "run.toml:3: schedule.slots expects \"auto\" or a whole number from 1 to 1000000, found the "
      "number -1");
  EXPECT_EQ(complaint(kMinimal, {"schedule.decay=cosin"}),
            "command line: schedule.decay expects \"linear\" | \"cosine\" | \"wsd\" | "
            "\"constant\", found "
            "text \"cosin\"");
  for (const char* bad : {"optimizer.lr=0",           "optimizer.lr=-1e-3",
                          "optimizer.lr=nan",         "optimizer.lr=inf",
                          "optimizer.lr=true",        "optimizer.betas=0.9",
                          "optimizer.betas=[0.9]",    "optimizer.betas=[0.9, 1.0]",
                          "model.layers=2.5",         "model.layers=99999999999999999999",
                          "model.tied_embeddings=1",  "data.train=[1, 2]",
                          "schedule.batch_tokens=0",  "schedule.batch_tokens=1e300",
                          "schedule.tokens=soon",     "schedule.tokens=1e308Ttok",
                          "output.name=../elsewhere", "schedule.warmup=fast",
                          "schedule.warmup=100%",     "data.seed=-1"}) {
    const std::string key = std::string(bad).substr(0, std::string(bad).find('='));
    EXPECT_NE(complaint(kMinimal, {bad}).find(key), std::string::npos) << bad;
  }
}

TEST(ConfigLoad, TheTokenizersSpellingIsChecked) {
  EXPECT_NE(complaint(kMinimal, {"data.tokenizer=bpe:12"}).find("bpe:12"), std::string::npos);
  EXPECT_NE(complaint(kMinimal, {"data.tokenizer=bpe:many"}).find("bpe:many"), std::string::npos);
}

TEST(ConfigLoad, BrokenTomlNamesTheLine) {
  EXPECT_EQ(complaint("[model]\nlayers = = 3\n").substr(0, 20), "run.toml:2: not TOML");
  EXPECT_NE(complaint("[model]\nlayers = 1979-05-27\n").find("run.toml:2"), std::string::npos);
  EXPECT_NE(complaint("[[model]]\nlayers = 1\n").find("nested"), std::string::npos);
  std::string deep = "a";
  for (int i = 0; i < 100000; ++i) deep += ".a";
  EXPECT_EQ(complaint(deep + " = 1"), "run.toml:1: a key of more than 16 parts");
  EXPECT_EQ(complaint("b = {" + deep + " = 1}"), "run.toml:1: a key of more than 16 parts");
  EXPECT_NE(complaint(kMinimal, {"model.layers={" + deep + " = 1}"}), "");
  EXPECT_NE(complaint("a = " + std::string(100000, '[')).find("not TOML"), std::string::npos);
  const std::string dots =
      "# don't...................\n" + kMinimal +
      "[data]\ntrain = [\"../../../../a.b.c.d.e.f.g\", './a.b.c.d.e.f.g.h.i.j']\n";
  EXPECT_EQ(complaint(dots), "");
  EXPECT_NE(complaint(std::string("[model]\nlayers = \0", 17)).find("not TOML"), std::string::npos);
}

TEST(ConfigLoad, NamesOfOtherToolsAreUnderstoodAndSaidSo) {
  Origins origins;
  const RunConfig config = parse_config(
      "n_layer = 12\nn_embd = 96\n[model]\nnum_attention_heads = 6\nblock_size = 128\n"
      "[optimizer]\nlearning_rate = 2e-3\n[schedule]\nmax_iters = 50\nwarmup_iters = 5\n",
      "nano.toml", {"n_head=3"}, origins);
  EXPECT_EQ(config.model.layers, 12);
  EXPECT_EQ(config.model.d_model, 96);
  EXPECT_EQ(config.model.heads, 3);
  EXPECT_EQ(config.model.context, 128);
  EXPECT_EQ(config.optimizer.lr, 2e-3);
  EXPECT_EQ(config.schedule.steps, 50);
  EXPECT_EQ(config.schedule.warmup, "5steps");
  ASSERT_EQ(origins.notes.size(), 8u);
  EXPECT_NE(std::find(origins.notes.begin(), origins.notes.end(),
                      "nano.toml:1: n_layer is read as model.layers"),
            origins.notes.end());
}

TEST(ConfigLoad, AKeyUnderTwoNamesIsRefused) {
  EXPECT_NE(complaint("[model]\nlayers = 2\nn_layer = 2\n").find("already set"), std::string::npos);
}

TEST(ConfigLoad, CommandLineTextNeedsNoQuotes) {
  const RunConfig config =
      parse(kMinimal, {"output.name=7", "data.train=a b.txt", "data.tokenizer=\"bytes\"",
                       "eval.sample_prompt=Once = upon", "output.name=true"});
  EXPECT_EQ(config.output.name, "true");
  EXPECT_EQ(paths_of(config.data.train), std::vector<std::string>{"a b.txt"});
  EXPECT_EQ(config.data.tokenizer, "bytes");
  EXPECT_EQ(config.eval.sample_prompt, "Once = upon");
  EXPECT_NE(complaint(kMinimal, {"optimizer.lr"}).find("key=value"), std::string::npos);
  EXPECT_NE(complaint(kMinimal, {"output.name=\xff"}).find("UTF-8"), std::string::npos);
  // A line break must not smuggle in a second key.
  EXPECT_NE(complaint(kMinimal, {"model.layers=2\nw=3"}).find("model.layers"), std::string::npos);
}

TEST(ConfigLoad, DataEntriesHaveWeightsAndNames) {
  const std::string text =
      "[data]\ntrain = [{ path = \"a.h5\", weight = 0.7 }, { path = \"b \\\" c\", weight = 3 }]\n"
      "valid = [\"v.h5\", { path = \"w.h5\", name = \"web\" }]\n";
  Origins origins;
  const RunConfig config = parse_config(text + kMinimal, "run.toml", {}, origins);
  EXPECT_EQ(config.data.train, (std::vector<DataEntry>{{"a.h5", 0.7, ""}, {"b \" c", 3, ""}}));
  EXPECT_EQ(config.data.valid, (std::vector<DataEntry>{{"v.h5", 0, ""}, {"w.h5", 0, "web"}}));
  const RunConfig again = parse_config(config_to_toml(config, origins), "config.toml", {}, origins);
  EXPECT_EQ(again.data.train, config.data.train);
  EXPECT_EQ(again.data.valid, config.data.valid);
  const RunConfig other =
      parse(text + kMinimal, {"data.train=[{path='a.h5', weight=0.6}, {path='b', "
                              "weight=0.4}]"});
  EXPECT_EQ(other.data.train[0].weight, 0.6);
  const auto differences = compare_configs(config, other);
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_TRUE(differences[0].frozen);
}

TEST(ConfigLoad, WrongDataEntriesAreNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"data.train=[{path='a', weight=1}, 'b']", "give one to each"},
      {"data.train=[{path='a', weight=0}]", "weight"},
      {"data.train=[{path='a', weight=-1}]", "weight"},
      {"data.train=[{path='a', weight='x'}]", "weight"},
      {"data.train=[{weight=1}]", "no path"},
      {"data.train=[{path='a', wieght=1}]", "wieght"},
      {"data.train=[{path='a', name='x'}]", "weight = ..."},
      {"data.valid=[{path='a', weight=1}]", "name = ..."},
      {"data.valid=[{path='a', name='x/y'}]", "no name for a set"},
      {"data.train=[{path='a'}, 7]", "neither text"},
      {"model.layers=[{path='a'}]", "model.layers"},
  };
  for (const auto& [assignment, expected] : cases) {
    const std::string said = complaint(kMinimal, {assignment});
    EXPECT_NE(said.find(expected), std::string::npos) << assignment << ": " << said;
  }
}

TEST(ConfigLoad, ResolvedDumpReadsBackAsTheSame) {
  Origins origins;
  const RunConfig config = parse_config(
      "[model]\npreset = \"cerebras-256m\"\n[data]\ntrain = [\"a \\\"quoted\\\" \\u0001 "
      "name.txt\"]\n",
      "run.toml",
      {"schedule.budget=1h30m", "optimizer.lr=0.1", "optimizer.eps=1e-300",
       "data.seed=9007199254740991"},
      origins);
  const std::string text = config_to_toml(config, origins);
  Origins again;
  const RunConfig read = parse_config(text, "config.toml", {}, again);
  EXPECT_TRUE(compare_configs(config, read).empty()) << text;
  EXPECT_EQ(read.data.train, config.data.train);
  EXPECT_NE(text.find("lr = 0.1 "), std::string::npos) << text;
  EXPECT_NE(text.find("# command line"), std::string::npos);
  EXPECT_NE(text.find("# preset cerebras-256m"), std::string::npos);
  EXPECT_NE(text.find("# run.toml:4"), std::string::npos);
  EXPECT_NE(text.find("# default"), std::string::npos);
}

TEST(ConfigLoad, DifferencesNameKeyValuesAndWhetherResumeRefusesThem) {
  const RunConfig a = parse(kMinimal);
  const RunConfig b = parse(kMinimal, {"optimizer.lr=3e-3", "compute.threads=2"});
  const auto differences = compare_configs(a, b);
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].key, "optimizer.lr");
  EXPECT_EQ(differences[0].a, "0.001");
  EXPECT_EQ(differences[0].b, "0.003");
  EXPECT_TRUE(differences[0].frozen);
  EXPECT_EQ(differences[1].key, "compute.threads");
  EXPECT_EQ(differences[1].a, "\"auto\"");
  EXPECT_FALSE(differences[1].frozen);
}

}  // namespace
}  // namespace isoflop
