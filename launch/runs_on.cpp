#include "launch/runs_on.hpp"

#include "formats/gguf.hpp"
#include "pretrain/gguf_import.hpp"
#include "pretrain/gguf_names.hpp"
#include "pretrain/model_source.hpp"
#include "report/humanize.hpp"

namespace isoflop {

namespace {

ModelToRun from_gguf(const std::filesystem::path& path) {
  const GgufModel model(path);
  ModelToRun result{model.config(), {}};
  for (const GgufTensor& tensor : model.file().tensors()) {
    const bool look_up = tensor.name == gguf::kPositionEmbedding ||
                         (tensor.name == gguf::kTokenEmbedding && !model.config().tied_embeddings);
    result.weights.add(tensor.codec->name, static_cast<double>(tensor.data.size()), !look_up);
  }
  return result;
}

nlohmann::ordered_json print_one(const Device& device,
                                 const ModelToRun& model,
                                 int64_t tokens,
                                 const Context& context) {
  const DeviceFit fit = fit_on_device(device, model.config, model.weights, tokens);
  context.print("{} ({}):", device.name, device.source);
  for (const ModelWeights::OfType& of : model.weights.by_type)
    context.print("  weights {:<12} {:>10}", of.type, human_bytes(of.bytes));
  context.print("  {:<20} {:>10}", fmt::format("cache, {} tokens", tokens), human_bytes(fit.cache));
  context.print("  {:<20} {:>10}", "compute buffers", human_bytes(fit.compute));
  context.print("  {:<20} {:>10}", "program", human_bytes(fit.program));
  context.print("  {:<20} {:>10} of {}", "together", human_bytes(fit.total()),
                human_bytes(device.memory));
  if (fit.rearranged > 0)
    context.print("  {:<20} {:>10} more, where there is room", "blocks rearranged",
                  human_bytes(fit.rearranged));
  if (fit.fits())
    context.print("  yes: about {:.3g} tokens/s, {:.3g} with a full context", fit.tokens_per_s,
                  fit.tokens_per_s_full);
  else
    context.print("  no: {} too little", human_bytes(fit.shortfall));
  return device_json(device, model.weights, fit, tokens);
}

}  // namespace

nlohmann::ordered_json device_json(const Device& device,
                                   const ModelWeights& weights,
                                   const DeviceFit& fit,
                                   int64_t context_tokens) {
  nlohmann::ordered_json types = nlohmann::ordered_json::object();
  for (const ModelWeights::OfType& of : weights.by_type) types[of.type] = of.bytes;
  return {{"device", device.name},
          {"runs", fit.fits()},
          {"memory_bytes", fit.total()},
          {"device_bytes", device.memory},
          {"shortfall_bytes", fit.shortfall},
          {"weights_bytes", fit.weights},
          {"weights", types},
          {"cache_bytes", fit.cache},
          {"compute_bytes", fit.compute},
          {"program_bytes", fit.program},
          {"rearranged_bytes", fit.rearranged},
          {"peak_bytes", fit.peak()},
          {"context", context_tokens},
          {"tokens_per_s", fit.tokens_per_s},
          {"tokens_per_s_full_context", fit.tokens_per_s_full},
          {"source", device.source}};
}

ModelToRun model_to_run(const std::filesystem::path& path) {
  if (GgufFile::looks_like_gguf(path)) return from_gguf(path);
  return model_to_run(open_model(path)->config());
}

ModelToRun model_to_run(const ModelConfig& config) {
  if (config.vocabulary == 0)
    fail_user("model.vocabulary is not known before the tokenizer is; say model.vocabulary=N");
  return {config, weights_of_shape(config)};
}

ExitCode print_runs_on(const ModelToRun& model,
                       const std::vector<std::string>& device_names,
                       int64_t context_tokens,
                       const Context& context) {
  const int64_t tokens = context_tokens > 0 ? context_tokens : model.config.context;
  if (tokens > model.config.context)
    fail_user("--context {}: the model has a context of {}", tokens, model.config.context);
  std::vector<const Device*> found;
  for (const std::string& name : device_names) found.push_back(&find_device(name));
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  bool all = true;
  for (const Device* device : found) {
    list.push_back(print_one(*device, model, tokens, context));
    all = all && list.back()["runs"].get<bool>();
  }
  context.result({{"runs", all}, {"devices", list}});
  return all ? ExitCode::kDone : ExitCode::kGate;
}

}  // namespace isoflop
