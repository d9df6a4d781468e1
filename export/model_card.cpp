#include "export/model_card.hpp"

#include "core/hash.hpp"
#include "core/json.hpp"
#include "pretrain/checkpoint/checkpoint.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/model/architecture.hpp"
#include "report/humanize.hpp"

#include <fmt/format.h>

#include <cmath>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kQuantized = "quantized.json";

constexpr const char* kChatModel = "It has a chat template, for conversations.";
constexpr const char* kBaseModel =
    "This is a base model: it continues text. It was not tuned to follow instructions or to hold a "
    "conversation, nothing was done to keep it from writing what is false or harmful, and it has "
    "no "
    "chat template.";

/// Texts of a manifest may be anything a path can be; on one line, and no markup.
std::string plain(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == '|' || c == '`') c = ' ';
  return text;
}

CardSource source_of(const Json& entry, const char* hash) {
  return {entry.at("path").get<std::string>(), entry.value("bytes", uint64_t{0}),
          entry.value("tokens", uint64_t{0}), entry.at(hash).get<std::string>()};
}

/// Stores, each followed by the files it was built from; and what decides the order of training:
/// the tokens, the weights, and the keys of the sampler.
void read_manifest(const fs::path& path, TrainingRecord& record) {
  const MappedFile file(path);
  const Json manifest = parse_json<Json>(file.text(), path.string());
  std::string order;
  for (const Json& source : manifest.at("train")) {
    order += source.at("weight").dump() + "\n";
    for (const Json& store : source.at("stores")) {
      record.data.push_back(source_of(store, "fingerprint"));
      order += fmt::format("{} {}\n", record.data.back().hash, record.data.back().tokens);
      if (store.contains("sources"))
        for (const Json& text : store.at("sources")) record.data.push_back(source_of(text, "xxh3"));
    }
  }
  const RunConfig& c = record.config;
  order += fmt::format("seed {} context {} batch {} slots {}", c.data.seed, c.model.context,
                       c.schedule.batch_tokens, c.schedule.slots);
  record.order_hash = hash_hex(hash_text(order));
}

std::string read_compute(const fs::path& path) {
  const MappedFile file(path);
  const Json environment = parse_json<Json>(file.text(), path.string());
  std::string words;
  for (const auto& [key, value] : environment.items())
    if (key != "host" && value.is_primitive())
      words += fmt::format("{}{} {}", words.empty() ? "" : ", ", key,
                           value.is_string() ? value.get<std::string>() : value.dump());
  return words;
}

fs::path run_of(const CheckpointRef& checkpoint) {
  return fs::absolute(checkpoint.folder).parent_path().parent_path();
}

void read_quantized(const fs::path& path, TrainingRecord& record) {
  const MappedFile file(path);
  const Json json = parse_json<Json>(file.text(), path.string());
  for (const auto& [type, entry] : json.items())
    if (entry.at("step").get<int64_t>() == record.state.step)
      record.quantized.push_back(
          {type, entry.at("bits_per_weight").get<double>(), entry.at("mean_kl").get<double>(),
           entry.at("perplexity_ratio").get<double>(), entry.at("top1_agreement").get<double>(),
           entry.at("tokens").get<int64_t>(), entry.at("sha256").get<std::string>()});
}

std::string quantized_table(const TrainingRecord& training) {
  if (training.quantized.empty()) return "";
  std::string text =
      "\n## Quantized files\n\nEach against the trained model in fp32, on held-out tokens; sha256 "
      "of "
      "the files.\n\n"
      "| type | bits per weight | mean KL | perplexity, file / model | same top token | tokens | "
      "sha256 |\n| --- | --- | --- | --- | --- | --- | --- |\n";
  for (const QuantizedFile& q : training.quantized)
    text += fmt::format("| {} | {:.2f} | {:.3g} | {:.4f} | {:.4f} | {} | `{}` |\n", plain(q.type),
                        q.bits_per_weight, q.mean_kl, q.perplexity_ratio, q.top1_agreement,
                        q.tokens, plain(q.sha256));
  return text;
}

std::string nats(double loss) {
  return std::isnan(loss) ? "not measured" : fmt::format("{:.4f}", loss);
}

std::string summary(const ModelCard& card) {
  std::string text =
      fmt::format("{} model of {} parameters, {} layers x {}, context {}.",
                  name_of(card.model.arch), human_count(static_cast<double>(card.parameters)),
                  card.model.layers, card.model.d_model, card.model.context);
  if (card.training)
    text += fmt::format(" Trained from {} on {} tokens with isoflop.",
                        card.training->config.model.init.empty() ? "scratch" : "another model",
                        human_count(static_cast<double>(card.training->state.tokens)));
  return text;
}

double training_flops(const ModelCard& card) {
  return training_flops_per_token(card.model) * static_cast<double>(card.training->state.tokens);
}

std::string data_table(const TrainingRecord& training) {
  std::string text = "| file | tokens | bytes | XXH3 |\n| --- | --- | --- | --- |\n";
  for (const CardSource& source : training.data)
    text += fmt::format("| {} | {} | {} | `{}` |\n", plain(source.path),
                        source.tokens ? std::to_string(source.tokens) : "",
                        source.bytes ? std::to_string(source.bytes) : "", plain(source.hash));
  return text;
}

std::string training_text(const ModelCard& card) {
  const TrainingRecord& t = *card.training;
  std::string text = fmt::format(
      "## Training\n\n| what | value |\n| --- | --- |\n| steps | {} |\n| tokens | {} |\n"
      "| tokens per parameter | {:.2f} |\n| training loss, mean of the last steps | {} nats per "
      "token |\n| validation loss | {} nats per token |\n| compute | {:.3g} FLOPs |\n",
      t.state.step, t.state.tokens,
      static_cast<double>(t.state.tokens) / static_cast<double>(card.parameters),
      nats(t.state.mean_recent_loss()), nats(t.state.last_valid_loss), training_flops(card));
  if (!t.compute.empty()) text += fmt::format("| machine | {} |\n", plain(t.compute));
  if (!t.config.model.init.empty())
    text += fmt::format("| started from | {} |\n", plain(t.config.model.init));
  if (!t.order_hash.empty()) text += fmt::format("| order of the data | `{}` |\n", t.order_hash);
  text += "\n## Data\n\n";
  text += t.data.empty() ? "The run has no data-manifest.json.\n" : data_table(t);
  text += card.license.empty() ? "\nThe licences of the data were not given.\n"
                               : "\nThe licence above was given by whoever exported the model.\n";
  text += quantized_table(t);
  return text + "\n## Configuration\n\n```toml\n" + t.state.config + "```\n";
}

}  // namespace

std::optional<TrainingRecord> read_training_record(const fs::path& model,
                                                   std::vector<std::string>& notes) {
  if (!fs::is_directory(model) || fs::exists(model / "config.json")) return std::nullopt;
  std::vector<std::string> warnings;  // said when the model itself was opened
  const CheckpointRef checkpoint = open_checkpoint(model, warnings);
  TrainingRecord record;
  Origins origins;
  record.config = load_config(checkpoint.folder / "config.toml", {}, origins);
  record.state = load_state(checkpoint);
  record.state.config = MappedFile(checkpoint.folder / "config.toml").text();
  const fs::path run = run_of(checkpoint);
  // What was imported was trained elsewhere.
  if (record.state.step == 0 && !fs::exists(run / "data-manifest.json")) return std::nullopt;
  fs::path reading = run / "data-manifest.json";
  try {
    if (fs::exists(reading)) read_manifest(reading, record);
    if (fs::exists(reading = run / "environment.json")) record.compute = read_compute(reading);
    if (fs::exists(reading = run / kQuantized)) read_quantized(reading, record);
  } catch (const Error& error) {
    notes.push_back(fmt::format("left out of the model card: {}", error.what()));
  } catch (const Json::exception& error) {
    notes.push_back(fmt::format("left out of the model card: {} is damaged ({})", reading.string(),
                                error.what()));
  }
  return record;
}

void record_quantized(const fs::path& model,
                      const std::string& type,
                      double bits_per_weight,
                      const Json& certificate) {
  std::vector<std::string> warnings;
  const CheckpointRef checkpoint = open_checkpoint(model, warnings);
  const fs::path path = run_of(checkpoint) / kQuantized;
  Json json = Json::object();
  if (fs::exists(path)) json = Json::parse(read_file(path), nullptr, false);
  if (!json.is_object()) json = Json::object();  // damaged: what it said is measured again
  const Json& weights = certificate.at("weights");
  Json entry = {{"step", checkpoint.step()}, {"bits_per_weight", bits_per_weight}};
  for (const char* key : {"mean_kl", "perplexity_ratio", "top1_agreement", "tokens"})
    entry[key] = weights.at(key);
  entry["sha256"] = certificate.at("file_sha256");
  json[type] = entry;
  write_file_atomically(path, json.dump(2) + "\n");
}

std::string model_card_text(const ModelCard& card) {
  std::string text = "---\n";
  if (!card.license.empty()) text += "license: " + Json(card.license).dump() + "\n";
  text += "library_name: transformers\npipeline_tag: text-generation\ntags:\n- isoflop\n---\n\n";
  text += fmt::format("# {}\n\n{}\n\n{}\n\n", plain(card.name), summary(card),
                      card.chat ? kChatModel : kBaseModel);
  if (card.license.empty()) text += "No licence was given.\n\n";
  if (!card.type.empty()) text += fmt::format("Weights: {}.\n\n", card.type);
  if (card.training) return text + training_text(card);
  return text + fmt::format("Converted from `{}`; how that was trained is not known here.\n",
                            plain(card.origin));
}

std::vector<std::pair<std::string, std::string>> model_card_keys(const ModelCard& card) {
  std::vector<std::pair<std::string, std::string>> keys;
  if (!card.license.empty()) keys.emplace_back("general.license", card.license);
  keys.emplace_back("general.description",
                    summary(card) + " " + (card.chat ? kChatModel : kBaseModel));
  if (!card.training) return keys;
  const TrainingRecord& t = *card.training;
  Json data = Json::array();
  for (const CardSource& source : t.data)
    data.push_back({{"path", source.path},
                    {"bytes", source.bytes},
                    {"tokens", source.tokens},
                    {"xxh3", source.hash}});
  const auto put = [&](const char* key, std::string value) {
    keys.emplace_back(fmt::format("general.training.{}", key), std::move(value));
  };
  put("steps", std::to_string(t.state.step));
  put("tokens", std::to_string(t.state.tokens));
  put("flops", fmt::format("{:.4g}", training_flops(card)));
  put("train_loss", nats(t.state.mean_recent_loss()));
  put("valid_loss", nats(t.state.last_valid_loss));
  if (!t.order_hash.empty()) put("order_hash", t.order_hash);
  put("data", data.dump(-1, ' ', false, Json::error_handler_t::replace));
  put("config", t.state.config);
  return keys;
}

}  // namespace isoflop
