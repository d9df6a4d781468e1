#include "eval/language_model.hpp"
#include "export/gguf_export.hpp"
#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"
#include "report/humanize.hpp"

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <memory>

namespace isoflop {

namespace {

struct Options {
  std::string model;
  std::string type = "q4_0";
  std::string out;
  std::string name;
  bool force = false;
  int threads = 0;
};

ExitCode run(const Options& options, const Context& context) {
  const fs::path out = options.out;
  if (fs::exists(out) && !options.force)
    fail_user("{} exists; choose another --out, or replace it with --force", out.string());
  const fs::path folder = out.has_parent_path() ? out.parent_path() : fs::path(".");
  if (!fs::is_directory(folder)) fail_user("there is no folder {} to write to", folder.string());
  Machine machine(fp32_on(options.threads));
  LanguageModel model(options.model, *machine.backend, machine.team);
  for (const std::string& note : model.notes()) context.note("{}", note);
  const GgufExport job{.model = model.config(),
                       .table = model.table(),
                       .parameters = model.parameters(),
                       .tokenizer = model.tokenizer(),
                       .type = options.type,
                       .name = options.name.empty() ? out.stem().string() : options.name};
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
  app.add_option("--type", options->type, "f32, f16, q8_0 or q4_0")->capture_default_str();
  app.add_option("--out", options->out, "the GGUF file to write")->required();
  app.add_option("--name", options->name, "the model's name inside the file");
  app.add_flag("--force", options->force, "replace an existing file");
  app.add_option("--threads", options->threads, "cores to use; 0 = all");
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command export_command() {
  return {"export", "write a model as a GGUF file for llama.cpp and its relatives",
          "isoflop export runs/first --type q4_0 --out first.gguf", declare};
}

}  // namespace isoflop
