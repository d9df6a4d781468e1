#include "core/math.hpp"
#include "eval/chat_template.hpp"
#include "eval/language_model.hpp"
#include "export/certificate.hpp"
#include "export/gguf_export.hpp"
#include "launch/certify_file.hpp"
#include "launch/commands.hpp"
#include "launch/commands/export_hf.hpp"
#include "launch/context.hpp"
#include "launch/machine.hpp"
#include "launch/run_card.hpp"
#include "pretrain/gguf_recipe.hpp"
#include "report/humanize.hpp"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <memory>
#include <optional>

namespace isoflop {

namespace {

struct Options {
  ExportRequest request;
  std::string type = "q4_0";
  std::string out;
  std::string chat_template;
  std::string importance;                    // a file
  std::vector<std::string> importance_from;  // texts
  std::string importance_out;
  bool no_certify = false;
  CertifyOptions certify;
  HfOptions hf;
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

/// The whole model is in memory only while its importance is measured.
ExportReport write(const Options& options,
                   const fs::path& file,
                   Machine& machine,
                   const Context& context) {
  const ExportRequest& request = options.request;
  const fs::path out = options.out;
  std::optional<ImportanceMatrix> importance;
  if (!options.importance.empty()) importance = read_importance(options.importance);
  std::string chat_template =
      options.chat_template.empty() ? "" : find_chat_template(options.chat_template);
  const std::unique_ptr<ModelSource> source = open_model(request.model);
  for (const std::string& note : source->notes()) context.note("{}", note);
  const std::unique_ptr<Tokenizer> tokenizer = source->tokenizer();
  require_tokenizer(tokenizer.get(), source->origin());
  if (chat_template.empty()) chat_template = source->chat().chat_template;
  if (!options.importance_from.empty()) {
    CalibratingBackend calibrating(*machine.backend);
    LanguageModel model(request.model, calibrating, machine.team);
    importance = calibrate(model, calibrating, options, context);
  }
  const ParamTable table = make_param_table(source->config());
  std::vector<std::string> notes;
  ModelCard card = card_of(source->origin(), source->config(), table, request, out.stem().string(),
                           options.type, notes);
  card.chat = !chat_template.empty();
  const ParamBuffer none{};
  const GgufExport job{.model = source->config(),
                       .table = table,
                       .parameters = none,
                       .tokenizer = *tokenizer,
                       .type = options.type,
                       .name = card.name,
                       .importance = importance ? &*importance : nullptr,
                       .card = model_card_keys(card),
                       .chat_template = chat_template,
                       .source = source.get(),
                       .grid = source->grid()};
  ExportReport report = export_gguf(job, file, machine.team);
  report.notes.insert(report.notes.begin(), notes.begin(), notes.end());
  for (const std::string& note : report.notes) context.note("{}", note);
  return report;
}

/// Until its certificate is made a file has no name under which somebody could take it for good,
/// and one that fails keeps this one.
fs::path uncertified(const fs::path& out) {
  fs::path file = out;
  file += ".uncertified";
  return file;
}

/// The source's folder may be somebody else's, on a disk that cannot be written to.
void record(const Options& options,
            const ExportReport& report,
            const CertifiedFile& certified,
            const Context& context) {
  const fs::path model = options.request.model;
  if (!fs::is_directory(model) || fs::exists(model / "config.json")) return;
  try {
    record_quantized(model, report.type, report.bits_per_weight(), certified.json);
    write_run_card(model, options.request.license, context);
  } catch (const Error& error) {
    context.note("not kept for the model card: {}", error.what());
  }
}

ExitCode run(const Options& options, const Context& context) {
  if (options.out.empty() == options.hf.folder.empty())
    fail_user("export needs either --out F.gguf or --hf DIR");
  const ExportRequest& request = options.request;
  if (!options.hf.folder.empty()) {
    HfOptions hf = options.hf;
    if (!options.chat_template.empty())
      hf.chat_template = find_chat_template(options.chat_template);
    return export_hf_folder(request, hf, context);
  }
  const fs::path out = options.out;
  for (const auto& [flag, file] :
       {std::pair{"--out", out}, {"--imatrix-out", options.importance_out}})
    if (!file.empty() && fs::exists(file) && !request.force)
      fail_user("{} exists; choose another {}, or replace it with --force", file.string(), flag);
  const fs::path folder = out.has_parent_path() ? out.parent_path() : fs::path(".");
  if (!fs::is_directory(folder)) fail_user("there is no folder {} to write to", folder.string());
  check_certify_options(options.certify);
  if (options.no_certify && !(options.certify.text.empty() && options.certify.programs.empty()))
    fail_user(
        "--no-certify proves nothing, so --text and --for would have no effect; leave one out");
  Machine machine(fp32_on(request.threads));
  const fs::path file = options.no_certify ? out : uncertified(out);
  const ExportReport report = write(options, file, machine, context);
  context.print("{}: {}, {}, {:.2f} bits per weight", out.string(), report.type,
                human_bytes(static_cast<double>(report.file_bytes)), report.bits_per_weight());
  nlohmann::ordered_json object = {{"file", out.string()},
                                   {"type", report.type},
                                   {"bytes", report.file_bytes},
                                   {"parameters", report.parameters},
                                   {"bits_per_weight", report.bits_per_weight()},
                                   {"notes", report.notes}};
  if (options.no_certify) {
    context.result(object);
    return ExitCode::kDone;
  }
  const CertifiedFile certified =
      certify_file(file, out, request.model, options.certify, machine, context);
  if (certified.pass) {
    record(options, report, certified, context);
  } else {
    context.print("{} is not what {} would be: it was set aside as {}", out.string(), request.model,
                  file.string());
  }
  object["certificate"] = certified.json;
  context.result(object);
  return certified.pass ? ExitCode::kDone : ExitCode::kGate;
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->request.model, kAnyModel)->required();
  const Flag* const out = app.add_option("--out", options->out, "the GGUF file to write");
  declare_hf(app, options->hf);
  app.add_option("--type", options->type,
                 fmt::format("one of {}", fmt::join(gguf_recipe_names(), ", ")))
      ->capture_default_str()
      ->needs(out);
  app.add_option("--name", options->request.name, "the model's name inside the file");
  app.add_option("--license", options->request.license,
                 "of the model and its data, for its card: apache-2.0, cc-by-4.0, ...");
  app.add_option("--chat-template", options->chat_template,
                 fmt::format("for a model tuned for chats: {}, or a file with a template",
                             chat_template_names()));
  auto* given = app.add_option("--imatrix", options->importance,
                               "an importance matrix, in the file of llama.cpp's llama-imatrix")
                    ->needs(out);
  auto* from = app.add_option("--imatrix-from", options->importance_from,
                              "measure the importance matrix on these texts")
                   ->excludes(given)
                   ->needs(out);
  app.add_option("--imatrix-out", options->importance_out, "keep what was measured in this file")
      ->needs(from);
  app.add_flag("--no-certify", options->no_certify, "write the file and prove nothing")->needs(out);
  declare_certify_options(app, options->certify, out);
  app.add_flag("--force", options->request.force, "replace an existing file or folder");
  app.add_threads(options->request.threads);
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command export_command() {
  return {
      "export",
      "write a model as a GGUF file for llama.cpp and its relatives, or as a Hugging Face folder",
      "isoflop export runs/first --type q4_0 --out first.gguf\n"
      "  isoflop export runs/first --type q4_k_m --imatrix-from book.txt --out first.gguf\n"
      "  isoflop export runs/first --hf first-hf --dtype bf16 --verify",
      declare};
}

}  // namespace isoflop
