#include "launch/commands/export_hf.hpp"

#include "export/hf_export.hpp"
#include "export/verify.hpp"
#include "launch/machine.hpp"
#include "pretrain/model/architecture.hpp"
#include "report/humanize.hpp"

#include <nlohmann/json.hpp>

namespace isoflop {

namespace {

struct Traced {
  ModelConfig model;
  ModelTrace trace;
  std::unique_ptr<Tokenizer> tokenizer;  // null: it has none
};

/// The model is in memory only as long as it computes.
Traced trace_of(const fs::path& path, Machine& machine) {
  const std::unique_ptr<ModelSource> source = open_model(path);
  const ParamTable table = make_param_table(source->config());
  ParamBuffer parameters(table, DType::f32, "the weights of " + path.string());
  source->read_parameters(table, parameters, machine.team);
  return {source->config(), trace_model(source->config(), table, parameters, *machine.backend),
          source->tokenizer()};
}

/// Reads the folder again and computes with it; GateError naming the first activation that differs.
nlohmann::json verify(const fs::path& folder,
                      const fs::path& source,
                      DType dtype,
                      Machine& machine) {
  const Traced ours = trace_of(source, machine);
  const Traced written = trace_of(folder, machine);
  const TraceComparison comparison =
      compare_traces(ours.trace, written.trace, ours.model, trace_tolerance(dtype));
  if (!comparison.first.empty())
    throw GateError(fmt::format(
        "{} is not the model: {} is the first activation that differs, by {:.2g} of its "
        "largest value; logits differ by up to {:.2g}",
        folder.string(), comparison.first, comparison.error, comparison.logit_difference));
  if (ours.tokenizer &&
      (!written.tokenizer || written.tokenizer->to_json() != ours.tokenizer->to_json()))
    throw GateError(fmt::format("{}: the tokenizer reads back as another", folder.string()));
  return {{"steps", ours.trace.steps.size()}, {"logit_difference", comparison.logit_difference}};
}

}  // namespace

ModelCard card_of(const std::string& origin,
                  const ModelConfig& model,
                  const ParamTable& table,
                  const ExportRequest& request,
                  const std::string& name,
                  const std::string& type,
                  std::vector<std::string>& notes) {
  return {.name = request.name.empty() ? name : request.name,
          .license = request.license,
          .origin = origin,
          .parameters = parameter_count(table),
          .model = model,
          .training = read_training_record(request.model, notes),
          .type = type};
}

void declare_hf(Flags& app, HfOptions& options) {
  const Flag* const hf =
      app.add_option("--hf", options.folder, "the Hugging Face folder to write, instead of --out");
  app.add_option("--dtype", options.dtype, "of its tensors: f32, f16 or bf16")
      ->capture_default_str()
      ->needs(hf);
  app.add_option("--shard-bytes", options.shard_bytes, "its largest file of tensors")
      ->capture_default_str()
      ->needs(hf);
  app.add_flag("--verify", options.verify,
               "read it again, compute with both, and name the first activation that differs")
      ->needs(hf);
}

ExitCode export_hf_folder(const ExportRequest& request,
                          const HfOptions& options,
                          const Context& context) {
  const DType dtype = parse_hf_dtype(options.dtype);
  Machine machine(fp32_on(request.threads));
  const std::unique_ptr<ModelSource> source = open_model(request.model);
  for (const std::string& note : source->notes()) context.note("{}", note);
  const ParamTable table = make_param_table(source->config());
  const std::unique_ptr<Tokenizer> tokenizer = source->tokenizer();
  std::vector<std::string> notes;
  const std::string name = fs::absolute(fs::path(options.folder) / "").parent_path().filename();
  ModelCard card =
      card_of(source->origin(), source->config(), table, request, name, options.dtype, notes);
  const std::string chat_template =
      options.chat_template.empty() ? source->chat().chat_template : options.chat_template;
  card.chat = !chat_template.empty();
  const ParamBuffer none{};
  const HfReport report = export_hf({.model = source->config(),
                                     .table = table,
                                     .parameters = none,
                                     .tokenizer = tokenizer.get(),
                                     .dtype = dtype,
                                     .card = model_card_text(card),
                                     .chat_template = chat_template,
                                     .shard_bytes = options.shard_bytes,
                                     .source = source.get()},
                                    options.folder, request.force, machine.team);
  notes.insert(notes.end(), report.notes.begin(), report.notes.end());
  for (const std::string& note : notes) context.note("{}", note);
  nlohmann::ordered_json result = {{"folder", report.folder.string()},
                                   {"dtype", options.dtype},
                                   {"files", report.files},
                                   {"bytes", report.tensor_bytes},
                                   {"parameters", report.parameters},
                                   {"notes", notes}};
  context.print("{}: {} in {} file(s), {}", report.folder.string(), options.dtype, report.files,
                human_bytes(static_cast<double>(report.tensor_bytes)));
  if (options.verify) {
    result["verified"] = verify(report.folder, request.model, dtype, machine);
    context.print("read again: every activation is the model's, logits within {:.2g}",
                  result["verified"]["logit_difference"].get<double>());
  }
  context.result(result);
  return ExitCode::kDone;
}

}  // namespace isoflop
