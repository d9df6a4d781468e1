#include "pretrain/gguf_import.hpp"

#include "core/math.hpp"
#include "datasets/tokenizer/gguf_tokenizer.hpp"
#include "pretrain/gguf_names.hpp"
#include "pretrain/gguf_rope.hpp"
#include "pretrain/model/architecture.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <set>

namespace isoflop {

namespace {

// Far above any model and far below where products of three of them overflow.
constexpr uint32_t kMostWidth = 1 << 20;
constexpr int64_t kTileValues = 1 << 16;

/// The double a person would have written: 1e-5, not 9.99999975e-06.
double shortest_double(float value) {
  char text[64];
  const auto written = std::to_chars(text, text + sizeof(text), value);
  double result = 0;
  std::from_chars(text, written.ptr, result);
  return result;
}

Arch read_architecture(const GgufFile& file) {
  const std::string_view name = file.text(gguf::kArchitecture);
  for (const auto& [arch, known] : gguf::kArchitectures)
    if (known == name) return arch;
  fail_user("{}: architecture {} is not supported, only gpt2, gptneox and llama", file.origin(),
            name);
}

int64_t read_size(const GgufFile& file, const std::string& key, uint32_t most = kMostWidth) {
  const uint32_t value = file.u32(key);
  if (value < 1 || value > most)
    fail_user("{}: key {} is {}, not within 1 to {}", file.origin(), key, value, most);
  return value;
}

int64_t read_size_or(const GgufFile& file, const std::string& key, int64_t otherwise) {
  return file.find(key) ? read_size(file, key) : otherwise;
}

double read_positive(const GgufFile& file, const std::string& key) {
  const float value = file.f32(key);
  if (!std::isfinite(value) || value <= 0)
    fail_user("{}: key {} is {}, not a positive number", file.origin(), key, value);
  return shortest_double(value);
}

/// What a spec is called when counted in outputs: a vector is a column.
struct Shape {
  int64_t outputs, width;
  explicit Shape(const ParamSpec& spec)
      : outputs(spec.is_vector() ? spec.cols : spec.rows),
        width(spec.is_vector() ? 1 : spec.cols) {}
  int64_t rows_of(const ForeignName& foreign) const {
    return foreign.row_count > 0 ? foreign.row_count : outputs;
  }
};

const GgufTensor& require_tensor(const GgufFile& file, const std::string& name) {
  const GgufTensor* tensor = file.find_tensor(name);
  if (!tensor) fail_user("{}: tensor {} is missing", file.origin(), name);
  return *tensor;
}

}  // namespace

GgufModel::GgufModel(GgufFile file) : file_(std::move(file)) {
  read_config();
  require_exact_tensors();
}

std::string GgufModel::name() const {
  return std::string(file_.find_text(gguf::kName).value_or(""));
}

void GgufModel::read_config() {
  ModelConfig& c = config_;
  c.arch = read_architecture(file_);
  const gguf::ModelKeys keys(c.arch);
  c.layers = read_size(file_, keys.block_count, gguf::kMostBlocks);
  c.d_model = read_size(file_, keys.embedding_length);
  c.d_ff = read_size(file_, keys.feed_forward_length);
  c.heads = read_size(file_, keys.head_count);
  c.kv_heads = read_size_or(file_, keys.head_count_kv, c.heads);
  c.context = read_size(file_, keys.context_length, uint32_t{1} << 24);
  c.norm_eps = read_positive(file_, keys.norm_epsilon);
  if (c.heads % c.kv_heads != 0)
    fail_user("{}: {} query heads do not divide among {} key heads", file_.origin(), c.heads,
              c.kv_heads);
  const int64_t even_share = std::max<int64_t>(1, c.d_model / c.heads);
  c.head_dim = read_size_or(file_, keys.key_length, even_share);
  const auto require_head_size = [&](const std::string& key, int64_t otherwise) {
    if (read_size_or(file_, key, otherwise) != c.head_dim)
      fail_user("{}: key {} must be the size of a head, {}", file_.origin(), key, c.head_dim);
  };
  require_head_size(keys.value_length, even_share);
  if (has_rope(c.arch)) {
    const int64_t rotary = read_size_or(file_, keys.rope_dimension_count, c.head_dim);
    if (rotary > c.head_dim || rotary % 2 != 0 || (is_llama(c.arch) && rotary != c.head_dim))
      fail_user("{}: {} of {} entries of a head cannot be rotated", file_.origin(), rotary,
                c.head_dim);
    c.rotary_fraction = static_cast<double>(rotary) / static_cast<double>(c.head_dim);
    if (file_.find(keys.rope_freq_base)) c.rope_base = read_positive(file_, keys.rope_freq_base);
    const std::string_view scaling = file_.find_text(keys.rope_scaling_type).value_or("none");
    if (scaling == "linear") {
      c.rope_scaling = "linear";
      c.rope_scaling_factor = read_positive(file_, keys.rope_scaling_factor);
    } else if (scaling != "none") {
      fail_user("{}: rotary scaling \"{}\" is not supported", file_.origin(), scaling);
    }
    read_rope_divisors();
  }
  if (c.arch == Arch::pythia && !file_.boolean(keys.parallel_residual))
    fail_user("{}: {} is false; our pythia has attention and MLP side by side", file_.origin(),
              keys.parallel_residual);
  if (file_.find_u32(keys.expert_count).value_or(0) > 0)
    fail_user("{}: mixtures of experts are not supported", file_.origin());
  c.vocabulary = require_tensor(file_, std::string(gguf::kTokenEmbedding)).rows();
  c.tied_embeddings = !file_.find_tensor(gguf::kOutput);
  if (file_.find_boolean(gguf::kAddBos).value_or(false))
    notes_.push_back("the file asks for a start token before each text; none is added here");
}

void GgufModel::read_rope_divisors() {
  const GgufTensor* tensor = file_.find_tensor(gguf::kRopeDivisors);
  if (!tensor || !is_llama(config_.arch)) return;
  if (tensor->codec->type != BlockType::f32 ||
      tensor->dims != std::vector{config_.rotary_dim() / 2})
    fail_user("{}: tensor {} is not a list of {} F32", file_.origin(), tensor->name,
              config_.rotary_dim() / 2);
  std::vector<float> divisors(static_cast<size_t>(config_.rotary_dim() / 2));
  std::memcpy(divisors.data(), tensor->data.data(), tensor->data.size());
  if (config_.rope_scaling != "none" || !gguf::set_rope_divisors(config_, divisors))
    fail_user("{}: tensor {} is no scaling that Llama 3 models use", file_.origin(), tensor->name);
}

void GgufModel::require_exact_tensors() const {
  size_t used = 0;
  std::set<std::string_view> names;
  if (config_.rope_scaling == "llama3") {
    names.insert(gguf::kRopeDivisors);
    ++used;
  }
  for (const ParamSpec& spec : make_param_table(config_)) {
    const Shape shape(spec);
    for (const ForeignName& foreign : spec.gguf) {
      const GgufTensor& tensor = require_tensor(file_, foreign.name);
      const std::vector<int64_t> expected = spec.is_vector()
                                                ? std::vector{shape.rows_of(foreign)}
                                                : std::vector{shape.width, shape.rows_of(foreign)};
      if (tensor.dims != expected)
        fail_user("{}: tensor {} has shape [{}], expected [{}] from the file's keys",
                  file_.origin(), foreign.name, fmt::join(tensor.dims, ", "),
                  fmt::join(expected, ", "));
      if (!tensor.codec->dequantize)
        fail_user("{}: tensor {} has type {}, which is not supported", file_.origin(), foreign.name,
                  tensor.codec->name);
      names.insert(tensor.name);
      ++used;
    }
  }
  if (used == file_.tensors().size()) return;
  for (const GgufTensor& tensor : file_.tensors())
    if (!names.count(tensor.name))
      fail_user("{}: tensor {} has no place in our {} model", file_.origin(), tensor.name,
                name_of(config_.arch));
}

void GgufModel::read_parameters(const ParamTable& table,
                                ParamBuffer& parameters,
                                ThreadTeam& team) const {
  for (size_t i = 0; i < table.size(); ++i) {
    if (!parameters[i]) continue;
    const Shape shape(table[i]);
    float* values = parameters[i].as<float>();
    for (const ForeignName& foreign : table[i].gguf) {
      const GgufTensor& tensor = require_tensor(file_, foreign.name);
      const BlockCodec& codec = *tensor.codec;
      const int64_t rows = shape.rows_of(foreign);
      ISOFLOP_CHECK(codec.bytes_for(rows * shape.width) == static_cast<int64_t>(tensor.data.size()),
                    "the table is not this file's at {}", foreign.name);
      const int64_t row_bytes = tensor.data.size() / static_cast<size_t>(rows);
      const int64_t tile_rows = std::max<int64_t>(1, kTileValues / shape.width);
      team.run(div_ceil(rows, tile_rows), [&](int64_t tile, int) {
        const int64_t first = tile * tile_rows;
        codec.dequantize(tensor.data.data() + first * row_bytes,
                         std::min(tile_rows, rows - first) * shape.width,
                         values + (foreign.first_row + first) * shape.width);
      });
    }
  }
}

BlockMatrices GgufModel::blocks(const ParamTable& table, const Backend& backend) const {
  BlockMatrices found(table.size());
  for (size_t i = 0; i < table.size(); ++i) {
    if (table[i].is_vector() || table[i].gguf.size() != 1) continue;
    const GgufTensor& tensor = require_tensor(file_, table[i].gguf[0].name);
    const auto type = static_cast<uint32_t>(tensor.codec->type);
    if (table[i].name != "positions.weight" && backend.multiplies_by(type, table[i].cols))
      found[i] = {tensor.data.data(), type, table[i].rows, table[i].cols};
  }
  return found;
}

std::unique_ptr<Tokenizer> GgufModel::tokenizer() const {
  const size_t tokens = file_.texts(gguf::kTokens).size();
  if (static_cast<int64_t>(tokens) != config_.vocabulary)
    fail_user("{}: {} tokens for {} rows of {}", file_.origin(), tokens, config_.vocabulary,
              gguf::kTokenEmbedding);
  return read_gguf_tokenizer(file_);
}

}  // namespace isoflop
