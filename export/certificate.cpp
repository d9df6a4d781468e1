#include "export/certificate.hpp"

#include "core/json.hpp"
#include "core/sha256.hpp"
#include "datasets/tokenizer/gguf_keys.hpp"
#include "export/held_out.hpp"
#include "formats/gguf.hpp"
#include "pretrain/checkpoint/manifest.hpp"
#include "pretrain/gguf_recipe.hpp"
#include "report/humanize.hpp"

#include <cmath>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

constexpr int kCertificateVersion = 1;

/// A checkpoint is hashed by its manifest, which has the sizes and hashes of all its files and was
/// compared with them when it was opened.
fs::path hashed_file(const fs::path& source) {
  return fs::is_directory(source) ? source / kManifestName : source;
}

void require_one_shape(const ModelSource& source, const ModelSource& file) {
  const ModelConfig &a = source.config(), &b = file.config();
  if (a.vocabulary != b.vocabulary || a.layers != b.layers || a.d_model != b.d_model)
    fail_user(
        "{} has {} layers of {} and {} tokens, {} has {} of {} and {}: one was not made of the "
        "other",
        file.origin(), b.layers, b.d_model, b.vocabulary, source.origin(), a.layers, a.d_model,
        a.vocabulary);
}

/// One measured value, its limit, and whether the limit is a lower one. Comparisons are written so
/// that NaN fails.
struct Criterion {
  const char* name;
  double value, limit;
  bool at_least;
  bool holds() const { return at_least ? value >= limit : value <= limit; }
};

std::vector<Criterion> criteria(const Comparison& c, const CertificateLimits& limits) {
  std::vector<Criterion> list = {
      {"mean KL", c.mean_kl, limits.mean_kl, false},
      {"99th percentile KL", c.p99_kl, limits.p99_kl, false},
      {"perplexity ratio", c.perplexity_ratio(), limits.perplexity_ratio, false},
      {"top-1 agreement", c.top1_agreement(), limits.top1_agreement, true}};
  if (std::isfinite(limits.logit_difference))
    list.push_back(
        {"largest logit difference", c.max_logit_difference, limits.logit_difference, false});
  if (limits.greedy)
    list.push_back({"greedy mismatches", static_cast<double>(c.unexcused()), 0, false});
  return list;
}

void judge(Certificate& certificate) {
  for (const Criterion& c : criteria(certificate.weights, certificate.limits))
    if (!c.holds())
      certificate.failures.push_back(
          fmt::format("{} is {:.4g}, {} {:.4g} is allowed for {}", c.name, c.value,
                      c.at_least ? "at least" : "at most", c.limit, certificate.type));
  const std::vector<std::string>& different = certificate.tokenizer.different;
  if (!different.empty())
    certificate.failures.push_back(
        fmt::format("its tokenizer differs on {} of {} texts, the first {}", different.size(),
                    certificate.tokenizer.texts, different.front()));
}

Json to_json(const Comparison& c) {
  const double tokens = static_cast<double>(c.tokens);
  return {{"tokens", c.tokens},
          {"mean_kl", c.mean_kl},
          {"p99_kl", c.p99_kl},
          {"max_kl", c.max_kl},
          {"perplexity_source", std::exp(c.reference_nats / tokens)},
          {"perplexity_file", std::exp(c.other_nats / tokens)},
          {"perplexity_ratio", c.perplexity_ratio()},
          {"top1_agreement", c.top1_agreement()},
          {"greedy_mismatches", c.tokens - c.same_top},
          {"greedy_mismatches_excused", c.excused},
          {"max_logit_difference", c.max_logit_difference}};
}

}  // namespace

Certificate certify(const CertifyJob& job, Backend& backend, ThreadTeam& team) {
  Certificate certificate;
  certificate.file = job.file;
  const std::unique_ptr<ModelSource> source = open_model(job.source), model = open_model(job.file);
  require_one_shape(*source, *model);
  certificate.source = source->origin();
  certificate.source_hashed = hashed_file(source->origin()).string();
  certificate.source_sha256 = sha256_file(certificate.source_hashed);
  const std::unique_ptr<Tokenizer> tokenizer = source->tokenizer();
  if (tokenizer)
    certificate.tokenizer = compare_tokenizers(
        *tokenizer, require_tokenizer(model->tokenizer().get(), model->origin()));
  const HeldOutText held_out = find_held_out(
      {.source = *source, .tokenizer = tokenizer.get(), .texts = job.text, .tokens = job.tokens},
      backend, team);
  certificate.text = held_out.description;
  certificate.noise = runtime_noise(source->config().arch);
  bool quantized = false;
  {
    const GgufFile file(job.file);
    const BlockType type = coarsest_type(file);
    certificate.type = block_codec(type).name;
    // What was trained on the grid of the file is in it to the last level.
    const GgufRecipe* grid = find_grid_recipe(source->grid());
    certificate.on_grid = grid && grid->matrices == type;
    certificate.limits = certificate_limits(certificate.on_grid ? BlockType::f32 : type);
    quantized = block_codec(type).block_elements > 1;
    certificate.chat = file.find(gguf::kChatTemplate) != nullptr;
  }
  certificate.file_bytes = fs::file_size(job.file);
  certificate.file_sha256 = sha256_file(job.file);
  Reading wanted(*source, held_out.windows, backend, team);
  {
    Reading found(*model, held_out.windows, backend, team);
    certificate.weights = compare_models(wanted, found, certificate.noise, team);
  }
  if (job.as_runtimes && quantized) {
    Reading found(*model, held_out.windows, backend, team, /*as_stored=*/true);
    certificate.runtime = compare_models(wanted, found, certificate.noise, team);
  }
  judge(certificate);
  return certificate;
}

Json to_json(const Certificate& c) {
  Json object = {{"version", kCertificateVersion},
                 {"pass", c.pass()},
                 {"failures", c.failures},
                 {"file", c.file.filename().string()},
                 {"file_bytes", c.file_bytes},
                 {"file_sha256", c.file_sha256},
                 {"type", c.type},
                 {"trained_on_grid", c.on_grid},
                 {"kind", c.chat ? "chat model" : "base model"},
                 {"source", c.source},
                 {"source_hashed", c.source_hashed},
                 {"source_sha256", c.source_sha256},
                 {"text", c.text},
                 {"runtime_noise", c.noise},
                 {"weights", to_json(c.weights)}};
  if (c.runtime) object["with_8_bit_activations"] = to_json(*c.runtime);
  object["tokenizer"] = {{"texts", c.tokenizer.texts},
                         {"form", c.tokenizer.form},
                         {"different", c.tokenizer.different}};
  Json limits = Json::object();
  for (const Criterion& criterion : criteria(c.weights, c.limits))
    limits[criterion.name] = criterion.limit;
  object["limits"] = limits;
  return object;
}

std::vector<std::string> certificate_table(const Certificate& c) {
  std::vector<std::string> lines = {
      fmt::format("certificate of {}: {}{}, {}, {}", c.file.string(), c.type,
                  c.on_grid ? " as trained" : "", human_bytes(static_cast<double>(c.file_bytes)),
                  c.chat ? "chat model" : "base model"),
      fmt::format("against {} on {} tokens of {}", c.source, c.weights.tokens, c.text),
      fmt::format("  {:<26} {:>12} {:>14} {:>16}", "", "measured", "limit",
                  c.runtime ? "8-bit activations" : "")};
  const std::vector<Criterion> weights = criteria(c.weights, c.limits);
  const std::vector<Criterion> runtime = c.runtime ? criteria(*c.runtime, c.limits) : weights;
  for (size_t i = 0; i < weights.size(); ++i)
    lines.push_back(
        fmt::format("  {:<26} {:>12.4g} {:>14} {:>16} {}", weights[i].name, weights[i].value,
                    fmt::format("{} {:.5g}", weights[i].at_least ? ">=" : "<=", weights[i].limit),
                    c.runtime ? fmt::format("{:.4g}", runtime[i].value) : "",
                    weights[i].holds() ? "" : "FAILED"));
  lines.push_back(fmt::format(
      "  {:<26} {:>12} {:>14} {:>16} {}",
      c.tokenizer.form.empty() ? "texts with other ids" : "NFC texts with other ids",
      c.tokenizer.different.size(), "<= 0", "", c.tokenizer.different.empty() ? "" : "FAILED"));
  lines.push_back(fmt::format("  sha256 {}", c.file_sha256));
  return lines;
}

fs::path certificate_path(const fs::path& file) {
  return fs::path(file).replace_extension(".certificate.json");
}

EarlierCertificate read_certificate(const fs::path& file) {
  const fs::path path = certificate_path(file);
  if (!fs::exists(path))
    fail_user("there is no {} that says what {} was made of; name it with --against M",
              path.string(), file.string());
  const Json object = parse_json<Json>(read_file(path), path.string());
  const auto text = [&](const char* key) {
    if (!object.is_object() || !object.contains(key) || !object[key].is_string())
      fail_format("{}: {} is missing or no text", path.string(), key);
    return object[key].get<std::string>();
  };
  return {text("source"), text("file_sha256"), text("source_sha256")};
}

}  // namespace isoflop
