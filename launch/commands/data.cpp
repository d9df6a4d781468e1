#include "datasets/build.hpp"
#include "datasets/sampler.hpp"
#include "launch/commands.hpp"
#include "launch/config_arguments.hpp"
#include "launch/context.hpp"
#include "launch/describe.hpp"
#include "launch/signals.hpp"
#include "pretrain/config/resolve.hpp"
#include "report/humanize.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>

namespace isoflop {

namespace {

struct BuildArguments {
  fs::path tokenizer;
  std::string split = "auto";
  std::string field;
  std::vector<std::string> inputs;
  BuildOptions build;
};

struct BatchArguments {
  ConfigArguments words;
  int64_t step = 0;
  fs::path tokenizer;
};

/// A line every few seconds on what a long build has done.
std::function<void(const BuildProgress&)> progress_notes(const Context& context) {
  auto shown = std::make_shared<double>(0);
  return [shown, &context](const BuildProgress& progress) {
    if (progress.seconds - *shown < 3) return;
    *shown = progress.seconds;
    context.note(
        "{} of {} read, {} tokens, {} left", human_bytes(static_cast<double>(progress.bytes_done)),
        human_bytes(static_cast<double>(progress.bytes_total)),
        human_count(static_cast<double>(progress.tokens)), human_duration(progress.seconds_left));
  };
}

void print_store(const Context& context, const fs::path& path, const StoreReport& store) {
  context.print("{}: {} tokens in {} documents, {:.2f} bytes per token", path.string(),
                store.tokens, store.documents,
                static_cast<double>(store.bytes) / static_cast<double>(store.tokens));
}

/// An empty file in the way (mktemp makes one) holds nothing to protect.
bool is_empty_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && fs::file_size(path, error) == 0;
}

ExitCode build(BuildArguments& arguments, const Context& context) {
  BuildOptions& options = arguments.build;
  install_stop_signals();
  options.split = parse_split(arguments.split);
  options.progress = progress_notes(context);
  options.stop = stop_flag();
  const bool out_is_free = is_empty_file(options.out) || !fs::exists(options.out);
  const bool valid_is_free = is_empty_file(options.valid_out) || !fs::exists(options.valid_out);
  if (out_is_free && valid_is_free) options.overwrite = true;
  const auto tokenizer = Tokenizer::load(arguments.tokenizer);
  const Corpus corpus = Corpus::open(arguments.inputs, options.stop, arguments.field);
  const BuildReport report = build_stores(corpus, *tokenizer, options);

  print_store(context, options.out, report.train);
  nlohmann::ordered_json result = {{"tokens", report.train.tokens},
                                   {"documents", report.train.documents},
                                   {"bytes", report.train.bytes},
                                   {"file", options.out.string()}};
  if (!options.valid_out.empty()) {
    print_store(context, options.valid_out, report.valid);
    result["valid_tokens"] = report.valid.tokens;
    result["valid_documents"] = report.valid.documents;
    result["valid_bytes"] = report.valid.bytes;
    result["valid_file"] = options.valid_out.string();
    result["split"] = report.split == Split::tail ? "tail" : "hash";
  }
  context.result(result);
  return ExitCode::kDone;
}

/// The run that the words name, and the stores it draws from: those of the config, or those that a
/// run folder has built from text.
RunConfig open_run(const BatchArguments& arguments,
                   std::vector<std::shared_ptr<const TokenStore>>& stores) {
  const std::vector<std::string> others = arguments.words.others();
  const bool is_folder = others.size() == 1 && fs::is_directory(others[0]);
  if (!others.empty() && !is_folder)
    fail_user("{}: not a run.toml, a run folder or key=value", others[0]);
  if (is_folder && arguments.words.file()) fail_user("give a run.toml or a run folder, not both");
  Origins origins;
  const auto file = is_folder ? fs::path(others[0]) / "config.toml" : arguments.words.file();
  RunConfig config = load_config(file, arguments.words.overrides(), origins);
  for (const std::string& path : config.data.train) {
    if (TokenStore::looks_like_store(path)) stores.push_back(TokenStore::open(path));
  }
  if (is_folder && stores.empty())
    stores.push_back(TokenStore::open(fs::path(others[0]) / "data/train.h5"));
  if (stores.empty()) {
    fail_user(
        "data.train names no token store; build one with isoflop data build, or name the folder of "
        "a "
        "run that has built it");
  }
  return resolved(std::move(config));
}

ExitCode batch(const BatchArguments& arguments, const Context& context) {
  std::vector<std::shared_ptr<const TokenStore>> stores;
  const RunConfig config = open_run(arguments, stores);
  std::unique_ptr<Tokenizer> tokenizer;
  if (!arguments.tokenizer.empty()) tokenizer = Tokenizer::load(arguments.tokenizer);
  const int64_t context_tokens = config.model.context;
  const int64_t sequences = config.schedule.batch_tokens / context_tokens;
  const Sampler sampler(stores, context_tokens, config.data.seed);
  std::vector<int32_t> ids(static_cast<size_t>(context_tokens) + 1);
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (int64_t i = 0; i < sequences; ++i) {
    const uint64_t index =
        static_cast<uint64_t>(arguments.step) * static_cast<uint64_t>(sequences) +
        static_cast<uint64_t>(i);
    const WindowRef window = sampler.window(index);
    sampler.read(index, ids);
    const std::string path = stores[static_cast<size_t>(window.store)]->path().string();
    context.print("sequence {} (slot {}): {} tokens {}-{}, epoch {}", i,
                  i * config.schedule.slots / sequences, path, window.first_token,
                  window.first_token + ids.size() - 1, window.epoch);
    nlohmann::ordered_json row = {{"store", path},
                                  {"first_token", window.first_token},
                                  {"epoch", window.epoch},
                                  {"slot", i * config.schedule.slots / sequences},
                                  {"ids", ids}};
    if (tokenizer) {
      row["text"] = tokenizer->decode(ids);
      context.print("{}\n", row["text"].get<std::string>());
    }
    if (context.json) rows.push_back(std::move(row));
  }
  context.result({{"step", arguments.step}, {"context", context_tokens}, {"sequences", rows}});
  return ExitCode::kDone;
}

Action declare_build(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<BuildArguments>();
  BuildOptions& options = arguments->build;
  app.add_option("--tokenizer", arguments->tokenizer,
                 "tokenizer.json, or a folder with one or with GPT-2's files")
      ->required();
  app.add_option("--out", options.out, "the token store to write")->required();
  CLI::Option* valid =
      app.add_option("--valid-out", options.valid_out, "a second store with the text held back");
  app.add_option("--valid-fraction", options.valid_fraction, "part of the text held back")
      ->needs(valid)
      ->check(CLI::Range(0.0, 0.5))
      ->capture_default_str();
  app.add_option(
         "--split", arguments->split,
         "hash: whole documents; tail: the last part of each file; auto: tail under 20 documents")
      ->needs(valid)
      ->check(CLI::IsMember({"auto", "hash", "tail"}))
      ->capture_default_str();
  app.add_flag("--overwrite", options.overwrite, "replace stores that exist");
  app.add_option("--threads", options.threads, "0 = all cores; the result is the same")
      ->check(CLI::Range(0, 4096));
  app.add_option("--field", arguments->field,
                 "of JSON lines: the field with the text (default: text); standard input is taken "
                 "for JSON lines when given");
  app.add_option("input", arguments->inputs,
                 "text or JSON lines, also packed by gzip, zstd or xz: files, folders, globs, or - "
                 "for standard input")
      ->required();
  return [arguments, &context] { return build(*arguments, context); };
}

Action declare_inspect(CLI::App& app, Context& context) {
  auto file = std::make_shared<fs::path>();
  auto verify = std::make_shared<bool>(false);
  app.add_option("file", *file, "token store")->required();
  app.add_flag("--verify", *verify, "read all tokens and compare the stored hashes");
  return [file, verify, &context] {
    const nlohmann::ordered_json description = describe_store(*file, *verify);
    print_description(context, description);
    context.result(description);
    return ExitCode::kDone;
  };
}

Action declare_batch(CLI::App& app, Context& context) {
  auto arguments = std::make_shared<BatchArguments>();
  app.add_option("run", arguments->words.words, "run.toml with key=value changes, or a run folder")
      ->required();
  app.add_option("--preset", arguments->words.preset, "start from a named shape");
  app.add_option("--step", arguments->step, "steps count from 0")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 53))
      ->capture_default_str();
  app.add_option("--tokenizer", arguments->tokenizer, "show the text as well");
  return [arguments, &context] { return batch(*arguments, context); };
}

}  // namespace

std::vector<Command> data_commands() {
  return {
      {"data build", "tokenize text into a token store",
       "isoflop data build --tokenizer tokenizer.json --out train.h5 --valid-out valid.h5 books/",
       declare_build},
      {"data inspect", "what a token store holds", "isoflop data inspect train.h5 --verify",
       declare_inspect},
      {"data batch", "the exact batch of a step",
       "isoflop data batch runs/first --step 100 --tokenizer runs/first/tokenizer.json",
       declare_batch}};
}

}  // namespace isoflop
