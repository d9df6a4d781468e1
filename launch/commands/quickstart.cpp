#include "datasets/corpus.hpp"
#include "eval/baselines.hpp"
#include "eval/generate.hpp"
#include "eval/language_model.hpp"
#include "export/gguf_export.hpp"
#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/train_run.hpp"
#include "report/humanize.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <fstream>
#include <memory>

namespace isoflop {

namespace {

/// Of each source, kept out of training and of the tokenizer; what the result is judged by.
constexpr size_t kHeldOutBytes = 60000;

struct Options {
  std::vector<std::string> text;
  std::string out = "runs/quickstart";
  std::string arch = "llama";
  double minutes = 3;
  std::string resume;
};

struct Source {
  std::string name;
  fs::path train, held_out;
};

/// Splits each text file into RUN/text/train/NAME.txt and its last 60 kB in RUN/text/held-out.
std::vector<Source> split_sources(const Options& options, const fs::path& folder) {
  const Corpus corpus = Corpus::open(options.text);
  for (const char* part : {"train", "held-out"}) fs::create_directories(folder / "text" / part);
  std::vector<Source> sources;
  for (const TextFile& file : corpus.files()) {
    const std::string text = read_file(file.name);
    if (text.size() < 3 * kHeldOutBytes)
      fail_user(
          "{} has {} bytes; the quickstart keeps the last {} of each source for judging and needs "
          "three "
          "times as much; use isoflop train --budget for smaller texts",
          file.name, text.size(), kHeldOutBytes);
    const size_t line = text.find('\n', text.size() - kHeldOutBytes);  // whole lines on both sides
    const size_t cut = line == text.npos ? text.size() - kHeldOutBytes : line + 1;
    const std::string name = fs::path(file.name).stem().string();
    Source source{name, folder / "text" / "train" / (name + ".txt"),
                  folder / "text" / "held-out" / (name + ".txt")};
    write_file_atomically(source.train, std::string_view(text).substr(0, cut));
    write_file_atomically(source.held_out, std::string_view(text).substr(cut));
    sources.push_back(std::move(source));
  }
  return sources;
}

TrainRequest training(const Options& options, const fs::path& folder) {
  TrainRequest request;
  request.out = options.out;
  request.resume = options.resume;
  request.budget = fmt::format("{}s", options.minutes * 60);
  request.tokens_per_parameter = kTokensPerParameterInMinutes;
  request.overrides = {"output.name=quickstart", "model.arch=" + options.arch,
                       "data.valid=" + (folder / "text" / "held-out").string(),
                       "eval.sample_prompt=The"};
  request.texts = {(folder / "text" / "train").string()};
  return request;
}

struct Judgement {
  std::string name;
  uint64_t bytes = 0;
  double model = 0, xz = 0, trigram = 0;  // bits per byte
};

/// The exported file itself, on text it never saw, against a compressor and counting.
std::vector<Judgement> judge(const std::vector<Source>& sources, LanguageModel& model) {
  ByteTrigram trigram;
  for (const Source& source : sources) trigram.train(read_file(source.train));
  std::vector<Judgement> rows;
  Judgement all{"all", 0, 0, 0, 0};
  for (const Source& source : sources) {
    const std::string text = read_file(source.held_out);
    Judgement row{source.name, text.size(), 0, xz_bits_per_byte(text), trigram.bits_per_byte(text)};
    const TextScore score = score_documents(model, read_documents({source.held_out.string()}));
    // Separator lines are text to the others, so the model's nats are spread over all bytes of its
    // own text.
    row.model = score.bits_per_byte();
    const double bytes = static_cast<double>(row.bytes);
    all.bytes += row.bytes;
    all.model += row.model * bytes;
    all.xz += row.xz * bytes;
    all.trigram += row.trigram * bytes;
    rows.push_back(std::move(row));
  }
  for (double* sum : {&all.model, &all.xz, &all.trigram}) *sum /= static_cast<double>(all.bytes);
  rows.push_back(std::move(all));
  return rows;
}

std::string write_passage(LanguageModel& model, Backend& backend) {
  const Tokenizer& tokenizer = model.tokenizer();
  std::vector<int32_t> prompt = {tokenizer.separator()};
  const std::string start = "The";
  tokenizer.encode(start, prompt);
  Session session(model.model(), backend);
  const Generated written = generate(session, prompt,
                                     {.tokens = 120,
                                      .sampling = {.temperature = 0.7, .top_k = 50},
                                      .stop_tokens = {tokenizer.separator()}});
  return start + tokenizer.decode(written.ids);
}

fs::path export_q4_0(const fs::path& run, Machine& machine, const Context& context) {
  LanguageModel model(run, *machine.backend, machine.team);
  fs::create_directories(run / "export");
  const fs::path out = run / "export" / "quickstart-q4_0.gguf";
  const ExportReport report = export_gguf({.model = model.config(),
                                           .table = model.table(),
                                           .parameters = model.parameters(),
                                           .tokenizer = model.tokenizer(),
                                           .type = "q4_0",
                                           .name = "isoflop-quickstart",
                                           .grid = model.grid()},
                                          out, machine.team);
  for (const std::string& note : report.notes) context.note("{}", note);
  context.print("4-bit file: {}, {}, {:.2f} bits per weight", out.string(),
                human_bytes(static_cast<double>(report.file_bytes)), report.bits_per_weight());
  return out;
}

ExitCode run(const Options& options, const Context& context) {
  const fs::path folder = options.out;
  if (options.minutes <= 0) fail_user("--minutes {}: training needs some time", options.minutes);
  if (options.resume.empty() && fs::exists(folder) && !fs::is_empty(folder))
    fail_user(
        "{} holds an earlier quickstart; go on with it by --resume auto, or choose another --out",
        folder.string());
  require_writable_directory(folder);
  const std::vector<Source> sources = split_sources(options, folder);
  const TrainOutcome trained = train(training(options, folder), context);
  if (trained.code != ExitCode::kDone) return trained.code;

  Machine machine(fp32_on(0));
  const fs::path gguf = export_q4_0(folder, machine, context);
  LanguageModel model(gguf, *machine.backend, machine.team);
  const std::vector<Judgement> rows = judge(sources, model);
  context.print("\nbits per byte of the last {} kB of each source, which training never saw:",
                kHeldOutBytes / 1000);
  context.print("{:<20} {:>10} {:>8} {:>14}", "source", "this model", "xz -9", "byte trigrams");
  for (const Judgement& row : rows)
    context.print("{:<20} {:>10.3f} {:>8.3f} {:>14.3f}", row.name, row.model, row.xz, row.trigram);
  const std::string passage = write_passage(model, *machine.backend);
  context.print("\nthe 4-bit model writes:\n\n{}\n", passage);
  context.print("everything is in {}: config.toml, metrics.jsonl, tb/, checkpoints/, export/",
                folder.string());
  context.print(
      "next:\n  isoflop generate {} \"Once upon a time\" -n 100\n  isoflop eval {} --text FILE\n"
      "  isoflop train --budget 30m --out runs/mine FILE",
      gguf.string(), gguf.string());

  nlohmann::ordered_json object = trained.json;
  object["file"] = gguf.string();
  object["text"] = passage;
  for (const Judgement& row : rows)
    object["bits_per_byte"][row.name] = {
        {"model", row.model}, {"xz", row.xz}, {"trigram", row.trigram}};
  context.result(object);
  return ExitCode::kDone;
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option("--text", options->text,
                 "files, folders or globs of text; scripts/quickstart fetches some")
      ->required();
  app.add_option("--out", options->out, "run folder")->capture_default_str();
  app.add_option("--minutes", options->minutes, "time for training")->capture_default_str();
  app.add_option("--arch", options->arch, "gpt3 or llama")->capture_default_str();
  app.add_option("--resume", options->resume, "auto: go on with a quickstart that was stopped");
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command quickstart_command() {
  return {"quickstart", "text to a trained, 4-bit model in minutes",
          "isoflop quickstart --text data/quickstart --minutes 3", declare};
}

}  // namespace isoflop
