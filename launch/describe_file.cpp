#include "core/hash.hpp"
#include "datasets/token_store.hpp"
#include "datasets/tokenizer.hpp"
#include "formats/gguf.hpp"
#include "formats/llama2c.hpp"
#include "launch/describe.hpp"
#include "pretrain/checkpoint/checkpoint.hpp"
#include "pretrain/hf_import.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/model_source.hpp"

#include <map>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

Json scalar(const GgufFile& file, std::string_view key, const GgufValue& value) {
  if (value.is_array) return fmt::format("{} x {}", value.count, name_of(value.type));
  switch (value.type) {
    case GgufType::u32:
      return file.u32(key);
    case GgufType::f32:
      return file.f32(key);
    case GgufType::boolean:
      return file.boolean(key);
    case GgufType::text:
      return std::string(file.text(key));
    default:
      return std::string(name_of(value.type));
  }
}

Json describe_gguf(const fs::path& path) {
  const GgufFile file(path);
  Json keys = Json::object();
  for (const std::string_view key : file.keys()) {
    keys[std::string(key)] = scalar(file, key, *file.find(key));
  }
  Json tensors = Json::array();
  std::map<std::string, int64_t> types;
  int64_t parameters = 0;
  uint64_t bytes = 0;
  for (const GgufTensor& tensor : file.tensors()) {
    const std::string type(tensor.codec->name);
    tensors.push_back({{"name", std::string(tensor.name)}, {"type", type}, {"dims", tensor.dims}});
    ++types[type];
    parameters += tensor.rows() * tensor.cols();
    bytes += tensor.data.size();
  }
  const double bits =
      parameters ? 8.0 * static_cast<double>(bytes) / static_cast<double>(parameters) : 0;
  return {{"kind", "gguf"}, {"version", file.version()}, {"parameters", parameters},
          {"bytes", bytes}, {"bits_per_weight", bits},   {"types", types},
          {"keys", keys},   {"tensors", tensors}};
}

const char* type_of(const Tokenizer& tokenizer) {
  static constexpr const char* kNames[] = {"bytes", "chars", "bpe", "sentencepiece"};
  return kNames[static_cast<int>(tokenizer.kind())];
}

/// A model in another program's files, as we would read it.
Json describe_model(const fs::path& path, const char* kind) {
  const std::unique_ptr<ModelSource> source = open_model(path);
  const ModelConfig& c = source->config();
  const auto tokenizer = source->tokenizer();
  Json description = {{"kind", kind},
                      {"arch", name_of(c.arch)},
                      {"parameters", parameter_count(make_param_table(c))},
                      {"layers", c.layers},
                      {"d_model", c.d_model},
                      {"heads", c.heads},
                      {"kv_heads", c.kv_heads},
                      {"d_ff", c.d_ff},
                      {"context", c.context},
                      {"vocabulary", c.vocabulary},
                      {"tied_embeddings", c.tied_embeddings},
                      {"tokenizer", nullptr},
                      {"chat_template", !source->chat().chat_template.empty()}};
  if (tokenizer) description["tokenizer"] = type_of(*tokenizer);
  description["notes"] = source->notes();
  return description;
}

Json describe_checkpoint(const CheckpointRef& checkpoint) {
  const TrainState state = load_state(checkpoint);
  Json files = Json::array();
  for (const ManifestFile& file : checkpoint.manifest.files) {
    files.push_back({{"name", file.name}, {"bytes", file.bytes}, {"hash", hash_hex(file.hash)}});
  }
  return {{"kind", "checkpoint"},
          {"folder", checkpoint.folder.string()},
          {"step", checkpoint.manifest.step},
          {"tokens", state.tokens},
          {"updates", state.optimizer_step},
          {"verified", true},
          {"files", files}};
}

Json describe_folder(const fs::path& path) {
  std::vector<std::string> warnings;
  if (fs::exists(path / kManifestName)) return describe_checkpoint(open_checkpoint(path, warnings));
  Json entries = Json::array();
  for (const CheckpointEntry& entry : list_checkpoints(path)) {
    entries.push_back({{"folder", entry.folder.string()},
                       {"step", entry.step},
                       {"complete", entry.manifest.has_value()}});
  }
  Json description = {{"kind", "run folder"}};
  if (const auto latest = find_latest(path, warnings)) description["latest_step"] = latest->step();
  description["checkpoints"] = entries;
  description["warnings"] = warnings;
  return description;
}

bool is_run_folder(const fs::path& path) {
  return fs::exists(path / kManifestName) || fs::is_directory(checkpoints_folder(path)) ||
         fs::exists(path / "config.toml");
}

}  // namespace

Json describe_store(const fs::path& path, bool verify) {
  return describe_store(*TokenStore::open(path, verify), verify);
}

Json describe_store(const TokenStore& store, bool verified) {
  const TokenStoreInfo& info = store.info();
  Json sources = Json::array();
  for (const TokenSource& source : info.sources) {
    sources.push_back(
        {{"path", source.path}, {"bytes", source.bytes}, {"hash", hash_hex(source.hash)}});
  }
  Json description = {{"kind", "token store"},
                      {"format", name_of(info.format)},
                      {"tokens", info.tokens},
                      {"documents", info.documents},
                      {"bytes", info.text_bytes},
                      {"vocabulary", info.vocabulary},
                      {"separator", info.separator},
                      {"token_bytes", info.token_bytes},
                      {"tokenizer_hash", hash_hex(info.tokenizer_hash)},
                      {"fingerprint", hash_hex(info.fingerprint)},
                      {"verified", verified}};
  if (info.row_tokens > 0) description["row_tokens"] = info.row_tokens;
  description["sources"] = sources;
  return description;
}

Json describe_tokenizer(const fs::path& path) {
  const auto tokenizer = Tokenizer::load(path);
  const TokenizerRules rules = tokenizer->rules();
  Json special = Json::array(), added = Json::array();
  for (int32_t id = 0; id < tokenizer->vocabulary(); ++id) {
    if (tokenizer->is_special(id)) special.push_back(tokenizer->token_text(id));
    if (tokenizer->type(id) == TokenType::user) added.push_back(tokenizer->token_text(id));
  }
  return {{"kind", "tokenizer"},
          {"type", type_of(*tokenizer)},
          {"vocabulary", tokenizer->vocabulary()},
          {"merges", tokenizer->merges().size()},
          {"split", rules.split},
          {"normalizer", rules.normalizer},
          {"ignore_merges", rules.ignore_merges},
          {"space_prefix", rules.space_prefix},
          {"collapse_spaces", rules.collapse_spaces},
          {"byte_fallback", rules.byte_fallback},
          {"lossy_bytes", rules.lossy_bytes},
          {"separator", tokenizer->separator()},
          {"special_tokens", special},
          {"added_tokens", added},
          {"hash", hash_hex(tokenizer->hash())}};
}

Json describe_file(const fs::path& path, bool verify) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) fail_user("{}: there is no such file or folder", path.string());
  if (fs::is_directory(status) && is_run_folder(path)) return describe_folder(path);
  if (HfModel::looks_like_hf(path)) return describe_model(path, "hugging face folder");
  if (fs::is_regular_file(status)) {
    if (TokenStore::looks_like_store(path)) return describe_store(path, verify);
    if (GgufFile::looks_like_gguf(path)) return describe_gguf(path);
    if (Llama2cFile::looks_like_llama2c(path)) return describe_model(path, "llama2.c model");
  }
  try {
    return describe_tokenizer(path);
  } catch (const UserError& why) {
    fail_user("{} is no token store, GGUF file, checkpoint or run folder, and as a tokenizer: {}",
              path.string(), why.what());
  }
}

}  // namespace isoflop
