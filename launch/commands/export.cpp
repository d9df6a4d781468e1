#include "core/math.hpp"
#include "eval/language_model.hpp"
#include "export/gguf_export.hpp"
#include "export/gguf_recipe.hpp"
#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"
#include "report/humanize.hpp"

#include <CLI/CLI.hpp>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <memory>
#include <optional>

namespace isoflop {

namespace {

struct Options {
  std::string model;
  std::string type = "q4_0";
  std::string out;
  std::string name;
  std::string importance;                    // a file
  std::vector<std::string> importance_from;  // texts
  std::string importance_out;
  bool force = false;
  int threads = 0;
};

/// Lets the model read the texts.
ImportanceMatrix calibrate(LanguageModel& model,
                           const CalibratingBackend& backend,
                           const Options& options,
                           const Context& context) {
  const TextScore score = score_documents(model, read_documents(options.importance_from));
  if (score.score.tokens == 0) fail_user("there is no text in --imatrix-from to measure on");
  ImportanceMatrix importance = backend.take(model.table(), model.parameters());
  importance.origin = options.importance_out.empty() ? "measured" : options.importance_out;
  importance.texts = options.importance_from;
  importance.chunk_tokens = narrow<uint32_t>(model.config().context);
  importance.chunks = narrow<uint32_t>(div_ceil(score.score.tokens, model.config().context));
  context.note("importance measured on {} tokens, loss {:.4f}", score.score.tokens,
               score.score.loss());
  if (!options.importance_out.empty()) write_importance(importance, options.importance_out);
  return importance;
}

ExitCode run(const Options& options, const Context& context) {
  const fs::path out = options.out;
  for (const auto& [flag, file] :
       {std::pair{"--out", out}, {"--imatrix-out", options.importance_out}})
    if (!file.empty() && fs::exists(file) && !options.force)
      fail_user("{} exists; choose another {}, or replace it with --force", file.string(), flag);
  const fs::path folder = out.has_parent_path() ? out.parent_path() : fs::path(".");
  if (!fs::is_directory(folder)) fail_user("there is no folder {} to write to", folder.string());
  Machine machine(fp32_on(options.threads));
  std::optional<ImportanceMatrix> importance;
  if (!options.importance.empty()) importance = read_importance(options.importance);
  CalibratingBackend calibrating(*machine.backend);
  const bool calibrates = !options.importance_from.empty();
  LanguageModel model(options.model, calibrating, machine.team, {.tokens = calibrates ? 0 : 1});
  for (const std::string& note : model.notes()) context.note("{}", note);
  if (calibrates) importance = calibrate(model, calibrating, options, context);
  const GgufExport job{.model = model.config(),
                       .table = model.table(),
                       .parameters = model.parameters(),
                       .tokenizer = model.tokenizer(),
                       .type = options.type,
                       .name = options.name.empty() ? out.stem().string() : options.name,
                       .importance = importance ? &*importance : nullptr};
  const ExportReport report = export_gguf(job, out, machine.team);
  for (const std::string& note : report.notes) context.note("{}", note);
  context.print("{}: {}, {}, {:.2f} bits per weight", report.file.string(), report.type,
                human_bytes(static_cast<double>(report.file_bytes)), report.bits_per_weight());
  context.result({{"file", report.file.string()},
                  {"type", report.type},
                  {"bytes", report.file_bytes},
                  {"parameters", report.parameters},
                  {"bits_per_weight", report.bits_per_weight()},
                  {"notes", report.notes}});
  return ExitCode::kDone;
}

Action declare(CLI::App& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "run folder, checkpoint or GGUF file")->required();
  app.add_option("--type", options->type,
                 fmt::format("one of {}", fmt::join(gguf_recipe_names(), ", ")))
      ->capture_default_str();
  app.add_option("--out", options->out, "the GGUF file to write")->required();
  app.add_option("--name", options->name, "the model's name inside the file");
  auto* given = app.add_option("--imatrix", options->importance,
                               "an importance matrix, in the file of llama.cpp's llama-imatrix");
  auto* from = app.add_option("--imatrix-from", options->importance_from,
                              "measure the importance matrix on these texts")
                   ->excludes(given);
  app.add_option("--imatrix-out", options->importance_out, "keep what was measured in this file")
      ->needs(from);
  app.add_flag("--force", options->force, "replace an existing file");
  app.add_option("--threads", options->threads, "cores to use; 0 = all");
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command export_command() {
  return {"export", "write a model as a GGUF file for llama.cpp and its relatives",
          "isoflop export runs/first --type q4_0 --out first.gguf\n  isoflop export runs/first "
          "--type q4_k_m --imatrix-from book.txt --out first.gguf",
          declare};
}

}  // namespace isoflop
