#include "pretrain/hf_import.hpp"

#include "core/error.hpp"
#include "core/math.hpp"
#include "pretrain/hf_config.hpp"
#include "pretrain/hf_names.hpp"
#include "pretrain/model/architecture.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>

namespace isoflop {

namespace {

constexpr int64_t kTileValues = 1 << 16;

/// Tables that older programs stored beside the weights: masks and frequencies.
bool is_buffer(std::string_view name) {
  for (const std::string_view end : {".attn.bias", ".attn.masked_bias", ".attention.bias",
                                     ".attention.masked_bias", ".rotary_emb.inv_freq"})
    if (name.ends_with(end)) return true;
  return false;
}

/// The head under the name that each class has it by in one version or another.
bool is_head(std::string_view name) {
  return name == "lm_head.weight" || name == "embed_out.weight";
}

ModelConfig read_config_of(const fs::path& folder, std::vector<std::string>& notes) {
  const fs::path path = folder / hf::kConfig;
  const MappedFile file(path);
  return hf::read_config(file.text(), path.string(), notes);
}

}  // namespace

HfModel::HfModel(const fs::path& folder)
    : folder_(folder), config_(read_config_of(folder, notes_)), tensors_(folder) {
  require_exact_tensors();
}

bool HfModel::looks_like_hf(const fs::path& folder) {
  return fs::is_directory(folder) && fs::exists(folder / hf::kConfig) &&
         !fs::exists(folder / "config.toml");
}

const SafetensorsTensor* HfModel::find(const std::string& name) const {
  if (const SafetensorsTensor* tensor = tensors_.find(name)) return tensor;
  if (is_head(name))
    for (const char* other : {"lm_head.weight", "embed_out.weight"})
      if (const SafetensorsTensor* tensor = tensors_.find(other)) return tensor;
  const std::string_view prefix = hf::class_of(config_.arch).prefix;
  return name.starts_with(prefix) ? tensors_.find(name.substr(prefix.size())) : nullptr;
}

void HfModel::require_exact_tensors() {
  std::set<const SafetensorsTensor*> used;
  for (const ParamSpec& spec : make_param_table(config_)) {
    for (const ForeignName& foreign : spec.hugging_face) {
      const SafetensorsTensor* tensor = find(foreign.name);
      if (!tensor) fail_user("{}: tensor {} is missing", folder_.string(), foreign.name);
      const std::vector<int64_t> expected = hf::Stored(spec, foreign).shape();
      if (tensor->shape != expected)
        fail_user("{}: tensor {} has shape [{}], expected [{}] from {}", folder_.string(),
                  tensor->name, fmt::join(tensor->shape, ", "), fmt::join(expected, ", "),
                  hf::kConfig);
      if (!tensor->is_float())
        fail_user("{}: tensor {} has type {}; F32, F16 and BF16 are read", folder_.string(),
                  tensor->name, tensor->type);
      used.insert(tensor);
    }
  }
  for (const auto& file : tensors_.files())
    for (const SafetensorsTensor& tensor : file->tensors()) {
      if (used.count(&tensor) || is_buffer(tensor.name)) continue;
      if (config_.tied_embeddings && is_head(tensor.name))
        require_tied_head(tensor);
      else
        fail_user("{}: tensor {} has no place in {}", file->origin(), tensor.name,
                  hf::class_of(config_.arch).name);
    }
}

void HfModel::require_tied_head(const SafetensorsTensor& head) const {
  const ParamTable table = make_param_table(config_);
  const auto row = static_cast<size_t>(find_param(table, "embedding.weight"));
  const SafetensorsTensor* embedding = find(table[row].hugging_face[0].name);
  if (head.type != embedding->type || head.shape != embedding->shape ||
      !std::equal(head.data.begin(), head.data.end(), embedding->data.begin(),
                  embedding->data.end()))
    fail_user("{}: tie_word_embeddings is true, but {} differs from {}", folder_.string(),
              head.name, embedding->name);
}

void HfModel::read_parameters(const ParamTable& table,
                              ParamBuffer& parameters,
                              ThreadTeam& team) const {
  std::vector<std::vector<float>> rows(static_cast<size_t>(team.size()));
  for (size_t i = 0; i < table.size(); ++i) {
    if (!parameters[i]) continue;
    float* values = parameters[i].as<float>();
    for (const ForeignName& foreign : table[i].hugging_face) {
      const SafetensorsTensor* tensor = find(foreign.name);
      const hf::Stored stored(table[i], foreign);
      ISOFLOP_CHECK(tensor && tensor->shape == stored.shape(),
                    "the table is not this folder's at {}", foreign.name);
      const int64_t tile_rows = std::max<int64_t>(1, kTileValues / stored.cols);
      team.run(div_ceil(stored.rows, tile_rows), [&](int64_t tile, int thread) {
        const int64_t first = tile * tile_rows;
        const int64_t count = std::min(tile_rows, stored.rows - first);
        std::vector<float>& read = rows[static_cast<size_t>(thread)];
        read.resize(static_cast<size_t>(count * stored.cols));
        tensor->values(first * stored.cols, read);
        const float* from = read.data();
        for (int64_t row = first; row < first + count; ++row)
          for (int64_t col = 0; col < stored.cols; ++col)
            values[stored.output(row, col) * stored.inputs + stored.input(row, col)] = *from++;
      });
    }
  }
}

std::unique_ptr<Tokenizer> HfModel::tokenizer() const {
  const auto has = [&](const char* name) { return fs::exists(folder_ / name); };
  if (!has("tokenizer.json") && !has("tokenizer.model") && !has("merges.txt")) return nullptr;
  auto tokenizer = Tokenizer::load(folder_);
  if (tokenizer->vocabulary() > config_.vocabulary)
    fail_user("{}: {} tokens for {} rows of the embedding", folder_.string(),
              tokenizer->vocabulary(), config_.vocabulary);
  return tokenizer;
}

}  // namespace isoflop
