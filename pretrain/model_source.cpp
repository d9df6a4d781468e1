#include "pretrain/model_source.hpp"

#include "core/error.hpp"
#include "datasets/tokenizer/gguf_keys.hpp"
#include "formats/llama2c.hpp"
#include "pretrain/checkpoint/checkpoint.hpp"
#include "pretrain/config/fields.hpp"
#include "pretrain/config/load.hpp"
#include "pretrain/gguf_import.hpp"
#include "pretrain/hf_chat.hpp"
#include "pretrain/hf_import.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/weight_grid.hpp"

#include <cstring>

namespace isoflop {

namespace {

class GgufSource : public ModelSource {
 public:
  explicit GgufSource(const fs::path& path) : model_(path), origin_(path.string()) {}
  const ModelConfig& config() const override { return model_.config(); }
  void read_parameters(const ParamTable& table,
                       ParamBuffer& parameters,
                       ThreadTeam& team) const override {
    model_.read_parameters(table, parameters, team);
  }
  BlockMatrices blocks(const ParamTable& table, const Backend& backend) const override {
    return model_.blocks(table, backend);
  }
  std::unique_ptr<Tokenizer> tokenizer() const override { return model_.tokenizer(); }
  ChatFormat chat() const override {
    const GgufFile& file = model_.file();
    ChatFormat chat;
    chat.chat_template = file.find_text(gguf::kChatTemplate).value_or("");
    chat.add_bos = file.find_boolean(gguf::kAddBos).value_or(false);
    if (!file.find(gguf::kTokens)) return chat;
    const std::vector<std::string_view> tokens = file.texts(gguf::kTokens);
    for (const auto& [key, text] :
         {std::pair{gguf::kBosId, &chat.bos}, {gguf::kEosId, &chat.eos}}) {
      const auto id = file.find_u32(key);
      if (id && *id < tokens.size()) *text = tokens[*id];
    }
    for (const std::string_view key : {gguf::kEosId, gguf::kEotId}) {
      const auto id = file.find_u32(key);
      if (id && *id < tokens.size()) chat.end_ids.push_back(static_cast<int32_t>(*id));
    }
    return chat;
  }
  const std::string& origin() const override { return origin_; }
  const std::vector<std::string>& notes() const override { return model_.notes(); }

 private:
  GgufModel model_;
  std::string origin_;
};

class HfSource : public ModelSource {
 public:
  explicit HfSource(const fs::path& path) : folder_(path), model_(path), origin_(path.string()) {}
  const ModelConfig& config() const override { return model_.config(); }
  void read_parameters(const ParamTable& table,
                       ParamBuffer& parameters,
                       ThreadTeam& team) const override {
    model_.read_parameters(table, parameters, team);
  }
  std::unique_ptr<Tokenizer> tokenizer() const override { return model_.tokenizer(); }
  ChatFormat chat() const override { return read_hf_chat(folder_, tokenizer().get()); }
  const std::string& origin() const override { return origin_; }
  const std::vector<std::string>& notes() const override { return model_.notes(); }

 private:
  fs::path folder_;
  HfModel model_;
  std::string origin_;
};

class CheckpointSource : public ModelSource {
 public:
  explicit CheckpointSource(const fs::path& path)
      : checkpoint_(open_checkpoint(path, notes_)), origin_(checkpoint_.folder.string()) {
    Origins origins;
    const fs::path file = checkpoint_.folder / "config.toml";
    const RunConfig run = load_config(file, {}, origins);
    config_ = run.model;
    ISOFLOP_CHECK(config_.vocabulary > 0, "{} is not resolved", file.string());
    grid_ = grid_after(run, make_param_table(config_), checkpoint_.step());
  }
  const ModelConfig& config() const override { return config_; }
  void read_parameters(const ParamTable& table,
                       ParamBuffer& parameters,
                       ThreadTeam& team) const override {
    load_checkpoint(checkpoint_, table, {.parameters = &parameters});
    if (const GgufRecipe* recipe = find_grid_recipe(grid_))
      WeightGrid(*recipe, config_, table).round(parameters, team);
  }
  const std::string& grid() const override { return grid_; }
  std::unique_ptr<Tokenizer> tokenizer() const override {
    const fs::path file = checkpoint_.tokenizer();
    return fs::exists(file) ? Tokenizer::load(file) : nullptr;
  }
  const std::string& origin() const override { return origin_; }
  const std::vector<std::string>& notes() const override { return notes_; }

 private:
  std::vector<std::string> notes_;  // before checkpoint_, whose opening fills it
  CheckpointRef checkpoint_;
  std::string origin_;
  ModelConfig config_;
  std::string grid_;
};

class Llama2cSource : public ModelSource {
 public:
  explicit Llama2cSource(const fs::path& path) : file_(path) {
    ModelConfig& c = config_;
    c.arch = Arch::llama;
    c.layers = file_.layers;
    c.d_model = file_.dim;
    c.heads = file_.heads;
    c.kv_heads = file_.kv_heads;
    c.head_dim = file_.head_dim();
    c.d_ff = file_.hidden;
    c.context = file_.context;
    c.vocabulary = file_.vocabulary;
    c.tied_embeddings = file_.shared_head;
    c.rotary_fraction = 1;
  }
  const ModelConfig& config() const override { return config_; }
  void read_parameters(const ParamTable& table,
                       ParamBuffer& parameters,
                       ThreadTeam&) const override {
    for (size_t i = 0; i < table.size(); ++i) {
      if (!parameters[i]) continue;
      const std::span<const std::byte> bytes = tensor(table[i]);
      ISOFLOP_CHECK(bytes.size() == parameters[i].bytes(), "{} is not this file's", table[i].name);
      std::memcpy(parameters[i].data, bytes.data(), bytes.size());
    }
  }
  std::unique_ptr<Tokenizer> tokenizer() const override { return nullptr; }
  const std::string& origin() const override { return file_.origin(); }
  const std::vector<std::string>& notes() const override { return notes_; }

 private:
  std::span<const std::byte> tensor(const ParamSpec& spec) const {
    using T = Llama2cTensor;
    static constexpr std::pair<std::string_view, T> kNames[] = {
        {"embedding", T::embedding}, {"head", T::head},         {"norm", T::norm},
        {"norm1", T::norm1},         {"attention.q", T::q},     {"attention.k", T::k},
        {"attention.v", T::v},       {"attention.out", T::out}, {"norm2", T::norm2},
        {"mlp.gate", T::gate},       {"mlp.down", T::down},     {"mlp.up", T::up}};
    const int64_t layer = spec.stage_block;
    const bool in_block = layer >= 0 && layer < file_.layers;
    const std::string prefix = in_block ? fmt::format("blocks.{}.", layer) : "";
    for (const auto& [name, kind] : kNames)
      if (spec.name == fmt::format("{}{}.weight", prefix, name))
        return file_.tensor(kind, in_block ? layer : 0);
    ISOFLOP_CHECK(false, "llama2.c has no {}", spec.name);
  }

  Llama2cFile file_;
  ModelConfig config_;
  std::vector<std::string> notes_;
};

}  // namespace

std::unique_ptr<ModelSource> open_model(const fs::path& path) {
  if (!fs::exists(path))
    fail_user(
        "there is no model at {}; give a run folder, a checkpoint, a GGUF file, a Hugging Face "
        "folder or a llama2.c .bin",
        path.string());
  if (HfModel::looks_like_hf(path)) return std::make_unique<HfSource>(path);
  if (fs::is_directory(path)) return std::make_unique<CheckpointSource>(path);
  if (GgufFile::looks_like_gguf(path) || path.extension() == ".gguf")
    return std::make_unique<GgufSource>(path);
  try {
    return std::make_unique<Llama2cSource>(path);
  } catch (const FormatError& e) {
    fail_user("{} is neither a GGUF file nor a llama2.c model ({})", path.string(), e.what());
  }
}

const Tokenizer& require_tokenizer(const Tokenizer* tokenizer, const std::string& origin) {
  if (!tokenizer) fail_user("{} has no tokenizer inside, so it cannot read or write text", origin);
  return *tokenizer;
}

std::vector<Setting> model_settings(const fs::path& path) {
  const auto source = open_model(path);
  RunConfig config;
  config.model = source->config();
  std::vector<Setting> settings;
  for (const Field& field : config_fields())
    if (field.key.rfind("model.", 0) == 0 && field.key != "model.preset" &&
        field.key != "model.init")
      settings.push_back({field.key, field.get(config), "model " + path.string()});
  if (source->tokenizer())
    settings.push_back({"data.tokenizer", path.string(), "model " + path.string()});
  return settings;
}

void require_tensors_of(const ModelSource& source, const ParamTable& table) {
  const ParamTable own = make_param_table(source.config());
  for (const ParamSpec& spec : table) {
    const int index = find_param(own, spec.name);
    if (index < 0)
      fail_user("{} has no tensor {}; model.init can only continue a model of the same shape",
                source.origin(), spec.name);
    if (own[index].rows != spec.rows || own[index].cols != spec.cols)
      fail_user(
          "{}: {} is {} x {} there, but {} x {} here; model.init can only continue a model of "
          "the same shape",
          source.origin(), spec.name, own[index].rows, own[index].cols, spec.rows, spec.cols);
  }
  if (own.size() != table.size())
    fail_user(
        "{} has {} tensors, this model {}; model.init can only continue a model of the same "
        "shape",
        source.origin(), own.size(), table.size());
}

}  // namespace isoflop
