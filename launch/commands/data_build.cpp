#include "datasets/build.hpp"
#include "datasets/convert.hpp"
#include "datasets/token_store.hpp"
#include "launch/commands/data_verbs.hpp"
#include "launch/signals.hpp"
#include "report/humanize.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <memory>

namespace isoflop {

namespace {

struct BuildArguments {
  fs::path tokenizer;
  std::string split = "auto";
  std::string field;
  std::string dedup = "off";
  std::vector<std::string> inputs;
  BuildOptions build;
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

bool is_token_file(const fs::path& path) {
  return TokenStore::looks_like_store(path);
}

/// The token files that all inputs name; empty when they name text.
std::vector<fs::path> token_files(const std::vector<std::string>& inputs) {
  std::vector<fs::path> files;
  for (const std::string& input : inputs)
    for (const fs::path& file : find_stores(input)) files.push_back(file);
  const auto count = std::count_if(files.begin(), files.end(), is_token_file);
  if (count == 0) return {};
  const auto text = std::find_if_not(files.begin(), files.end(), is_token_file);
  if (text != files.end())
    fail_user("{} is no token file; convert token files and tokenize text apart", text->string());
  return files;
}

/// Token files of other programs (or of ours) into a store.
ExitCode convert(const BuildArguments& arguments,
                 const std::vector<fs::path>& files,
                 const Context& context) {
  const BuildOptions& options = arguments.build;
  if (!options.valid_out.empty() || options.dedup != Dedup::off)
    fail_user("token files are converted as they are; --valid-out and --dedup need text");
  if (!options.overwrite && fs::exists(options.out))
    fail_user("{} exists already; remove it, choose another name, or ask for --overwrite",
              options.out.string());
  const auto tokenizer = Tokenizer::load(arguments.tokenizer);
  const ConvertReport report = convert_tokens(files, *tokenizer, options.out, options.stop);
  print_store(context, options.out, report.store);
  if (report.left_out > 0)
    context.print("{} examples with masked tokens were left out", report.left_out);
  context.result({{"tokens", report.store.tokens},
                  {"documents", report.store.documents},
                  {"bytes", report.store.bytes},
                  {"left_out", report.left_out},
                  {"file", options.out.string()}});
  return ExitCode::kDone;
}

void print_duplicates(const Context& context, const BuildReport& report) {
  const uint64_t all = report.duplicates + report.train.documents + report.valid.documents;
  context.print("{} of {} documents repeat earlier ones and were left out", report.duplicates, all);
  for (const DuplicateExample& example : report.examples) {
    context.print("  similarity {:.2f}, left out: {}", example.similarity,
                  one_line(example.dropped));
    context.print("                       kept: {}", one_line(example.kept));
  }
}

ExitCode build(BuildArguments& arguments, const Context& context) {
  BuildOptions& options = arguments.build;
  install_stop_signals();
  options.dedup = parse_dedup(arguments.dedup);
  options.split = parse_split(arguments.split);
  options.progress = progress_notes(context);
  options.stop = stop_flag();
  const bool out_is_free = is_empty_file(options.out) || !fs::exists(options.out);
  const bool valid_is_free = is_empty_file(options.valid_out) || !fs::exists(options.valid_out);
  if (out_is_free && valid_is_free) options.overwrite = true;
  if (const auto files = token_files(arguments.inputs); !files.empty())
    return convert(arguments, files, context);
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
  if (options.dedup != Dedup::off) {
    print_duplicates(context, report);
    result["duplicates"] = report.duplicates;
  }
  context.result(result);
  return ExitCode::kDone;
}

}  // namespace

Action declare_data_build(Flags& app, Context& context) {
  auto arguments = std::make_shared<BuildArguments>();
  BuildOptions& options = arguments->build;
  app.add_option("--tokenizer", arguments->tokenizer,
                 "tokenizer.json, or a folder with one or with GPT-2's files")
      ->required();
  app.add_option("--out", options.out, "the token store to write")->required();
  Flag* valid =
      app.add_option("--valid-out", options.valid_out, "a second store with the text held back");
  app.add_option("--valid-fraction", options.valid_fraction, "part of the text held back")
      ->needs(valid)
      ->check(in_range(0.0, 0.5))
      ->capture_default_str();
  app.add_option(
         "--split", arguments->split,
         "hash: whole documents; tail: the last part of each file; auto: tail under 20 documents")
      ->needs(valid)
      ->check(one_of({"auto", "hash", "tail"}))
      ->capture_default_str();
  app.add_flag("--overwrite", options.overwrite, "replace stores that exist");
  app.add_option("--threads", options.threads, "0 = all cores; the result is the same")
      ->check(in_range(0, 4096));
  app.add_option("--dedup", arguments->dedup,
                 "leave out repeated documents; exact: the same bytes, near: alike by MinHash")
      ->check(one_of({"off", "exact", "near"}))
      ->capture_default_str();
  app.add_option("--dedup-threshold", options.dedup_threshold,
                 "near: the Jaccard similarity of five-word runs from which on")
      ->check(in_range(0.5, 1.0))
      ->capture_default_str();
  app.add_option("--dedup-report", options.dedup_report,
                 "JSON lines: each document left out, and the one it repeats");
  app.add_option("--field", arguments->field,
                 "of JSON lines: the field with the text (default: text); standard input is taken "
                 "for JSON lines when given");
  app.add_option("input", arguments->inputs,
                 "text or JSON lines, also packed by gzip, zstd or xz: files, folders, globs, or - "
                 "for standard input; or tokens of llm.c, Megatron-LM or Cerebras to convert")
      ->required();
  return [arguments, &context] { return build(*arguments, context); };
}

}  // namespace isoflop
