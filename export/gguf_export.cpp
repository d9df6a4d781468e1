#include "export/gguf_export.hpp"

#include "core/math.hpp"
#include "datasets/tokenizer/gguf_keys.hpp"
#include "export/gguf_vocabulary.hpp"
#include "export/parameter_values.hpp"
#include "formats/gguf.hpp"
#include "pretrain/fold.hpp"
#include "pretrain/gguf_names.hpp"
#include "pretrain/gguf_recipe.hpp"
#include "pretrain/gguf_rope.hpp"
#include "pretrain/model/architecture.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace isoflop {

namespace {

constexpr int64_t kSlabBytes =
    8 << 20;  // of encoded rows held at once, at least one row per thread
constexpr int64_t kTileValues = 1 << 15;
constexpr float kLeastF16 = 0x1p-14f;  // smaller ones lose bits

/// One tensor of the file: some outputs of one row of the table. A vector is a column of outputs.
struct Piece {
  std::string name;
  int parameter;      // its row in the job's table; -1: zeros
  int64_t first_row;  // of the parameter
  int64_t outputs, width;
  int64_t folded;  // the first so many outputs are multiplied
  float factor;
  std::vector<int64_t> dims;
  BlockType wanted;               // by the recipe
  const BlockCodec* codec;        // of another type where rows are no whole blocks of that
  std::vector<float> importance;  // of each column, or empty
};

void require_expressible(const ModelConfig& model) {
  if (model.layers < 1 || model.layers > gguf::kMostBlocks)
    fail_user("model.layers = {} cannot be exported to GGUF, only 1 to {}", model.layers,
              gguf::kMostBlocks);
  if (!is_llama(model.arch) && model.heads * model.head_dim != model.d_model)
    fail_user(
        "model.heads x model.head_dim = {} x {} must be d_model = {} in a GGUF file of this "
        "architecture",
        model.heads, model.head_dim, model.d_model);
}

/// Options that no runtime of this architecture computes.
void require_common_options(const ModelConfig& model) {
  if (model.qk_norm)
    fail_user("model.qk_norm cannot be exported: this architecture has none in a GGUF file");
  if (model.logit_softcap > 0)
    fail_user("model.logit_softcap cannot be exported: no factor folds a bend of the logits");
  if (model.rope_scaling == "llama3" && !is_llama(model.arch))
    fail_user(
        "model.rope_scaling = \"llama3\" cannot be exported: GGUF files have it in the "
        "architecture llama alone; \"linear\" can");
}

std::string size_label(int64_t parameters) {
  const double n = static_cast<double>(parameters);
  for (const auto& [unit, letter] : {std::pair{1e9, 'B'}, {1e6, 'M'}, {1e3, 'K'}})
    if (n >= unit) return fmt::format("{:.{}f}{}", n / unit, n / unit < 10 ? 1 : 0, letter);
  return fmt::format("{}", parameters);
}

void put_general_keys(GgufWriter& writer,
                      const GgufExport& job,
                      const GgufRecipe& recipe,
                      const gguf::ModelKeys& keys) {
  writer.put_text(gguf::kArchitecture, keys.architecture);
  writer.put_text(gguf::kType, "model");
  writer.put_text(gguf::kName, job.name);
  writer.put_text(gguf::kSizeLabel, size_label(parameter_count(job.table)));
  writer.put_u32(gguf::kFileType, recipe.file_type);
  writer.put_u32(gguf::kQuantizationVersion, 2);
  for (const auto& [key, text] : job.card) writer.put_text(key, text);
}

void put_model_keys(GgufWriter& writer, const ModelConfig& model, const gguf::ModelKeys& keys) {
  const auto put = [&](const std::string& key, int64_t value) {
    writer.put_u32(key, narrow<uint32_t>(value));
  };
  put(keys.context_length, model.context);
  put(keys.embedding_length, model.d_model);
  put(keys.block_count, model.layers);
  put(keys.feed_forward_length, model.d_ff);
  put(keys.head_count, model.heads);
  put(keys.head_count_kv, model.kv_heads);
  put(keys.vocab_size, model.vocabulary);
  writer.put_f32(keys.norm_epsilon, static_cast<float>(model.norm_eps));
  if (!has_rope(model.arch)) return;
  if (is_llama(model.arch)) {
    put(keys.key_length, model.head_dim);
    put(keys.value_length, model.head_dim);
  } else {
    writer.put_boolean(keys.parallel_residual, true);
  }
  put(keys.rope_dimension_count, model.rotary_dim());
  writer.put_f32(keys.rope_freq_base, static_cast<float>(model.rope_base));
  if (model.rope_scaling == "linear") {
    writer.put_text(keys.rope_scaling_type, model.rope_scaling);
    writer.put_f32(keys.rope_scaling_factor, static_cast<float>(model.rope_scaling_factor));
  }
}

/// Under the names of the runtime's quantizer.
void put_importance_keys(GgufWriter& writer, const ImportanceMatrix& importance) {
  writer.put_text("quantize.imatrix.file", importance.origin);
  if (!importance.texts.empty()) writer.put_text("quantize.imatrix.dataset", importance.texts[0]);
  writer.put_u32("quantize.imatrix.entries_count", narrow<uint32_t>(importance.inputs.size()));
  writer.put_u32("quantize.imatrix.chunks_count", importance.chunks);
}

/// A model that was trained on the grid of the type asked for has a recipe of its own: with it the
/// file holds exactly the trained weights.
const GgufRecipe& recipe_for(const GgufExport& job) {
  const GgufRecipe& recipe = find_gguf_recipe(job.type);
  if (job.grid.empty() || job.grid != recipe.name) return recipe;
  if (job.importance)
    fail_user(
        "this model was trained on the grid of {}: a file of that type holds it as it is, and an "
        "importance matrix would move it off; export without one",
        recipe.name);
  return *find_grid_recipe(job.grid);
}

/// The tensors in the order of the file: from the embeddings up, the reverse of the table's.
std::vector<Piece> plan_pieces(const GgufExport& job, const GgufRecipe& recipe) {
  std::vector<Piece> pieces;
  ModelConfig complete = job.model;
  complete.biases = true;  // the file's architectures have them: a model without writes zeros
  const ParamTable table = make_param_table(complete);
  const RecipeContext context = recipe_context(job.model, job.importance != nullptr);
  const auto choose = [&](Piece& piece, int block) {
    const BlockChoice choice = choose_block_type(recipe, context, piece.name, block, piece.dims);
    piece.wanted = choice.wanted;
    piece.codec = &block_codec(choice.type);
    piece.importance.clear();
    if (job.importance && piece.codec->quantize_weighted)
      piece.importance = job.importance->of(piece.name, piece.width);
  };
  for (size_t i = table.size(); i-- > 0;) {
    const ParamSpec& spec = table[i];
    const int own = find_param(job.table, spec.name);
    const int64_t outputs = spec.is_vector() ? spec.cols : spec.rows;
    const int64_t width = spec.is_vector() ? 1 : spec.cols;
    const int64_t folded = spec.fold_rows > 0 ? spec.fold_rows : outputs;
    for (const ForeignName& foreign : spec.gguf) {
      Piece piece;
      piece.name = foreign.name;
      piece.outputs = foreign.row_count > 0 ? foreign.row_count : outputs;
      piece.width = width;
      piece.parameter = own;
      piece.first_row = foreign.first_row;
      piece.folded = std::clamp<int64_t>(folded - foreign.first_row, 0, piece.outputs);
      piece.factor = static_cast<float>(fold_factor(job.model, spec.fold));
      piece.dims =
          spec.is_vector() ? std::vector{piece.outputs} : std::vector{width, piece.outputs};
      choose(piece, spec.stage_block);
      pieces.push_back(std::move(piece));
    }
  }
  // This architecture has no tied form in the file: the same matrix is written twice.
  if (job.model.arch == Arch::pythia && job.model.tied_embeddings) {
    Piece output = pieces.front();
    output.name = gguf::kOutput;
    choose(output, -1);
    pieces.push_back(std::move(output));
  }
  return pieces;
}

/// Multiplies what is folded and refuses what the type cannot hold.
void load_rows(const Piece& piece,
               const float* values,
               int64_t first,
               int64_t count,
               std::vector<float>& rows) {
  const float limit = piece.codec->largest();
  rows.assign(static_cast<size_t>(count * piece.width), 0.0f);
  if (!values) return;
  for (int64_t r = 0; r < count; ++r) {
    const float factor = first + r < piece.folded ? piece.factor : 1.0f;
    const float* in = values + (piece.first_row + first + r) * piece.width;
    float* out = rows.data() + r * piece.width;
    for (int64_t c = 0; c < piece.width; ++c) {
      out[c] = in[c] * factor;
      if (!(std::fabs(out[c]) <= limit)) [[unlikely]]
        fail_user("{} holds {} at row {}, column {}, which {} cannot; has the run diverged?",
                  piece.name, out[c], first + r, c, piece.codec->name);
    }
  }
}

void write_piece(GgufWriter& writer, const Piece& piece, const float* from, ThreadTeam& team) {
  const int64_t row_bytes = piece.codec->bytes_for(piece.width);
  const int64_t tile_rows = std::max<int64_t>(1, kTileValues / piece.width);
  const int64_t slab_rows = std::max(tile_rows * team.size(), kSlabBytes / row_bytes);
  std::vector<std::vector<float>> rows(static_cast<size_t>(team.size()));
  std::vector<float> largest(rows.size(), 0.0f);
  std::vector<std::byte> encoded;
  for (int64_t slab = 0; slab < piece.outputs; slab += slab_rows) {
    const int64_t in_slab = std::min(slab_rows, piece.outputs - slab);
    encoded.resize(static_cast<size_t>(in_slab * row_bytes));
    team.run(div_ceil(in_slab, tile_rows), [&](int64_t tile, int thread) {
      const int64_t first = tile * tile_rows;
      const int64_t count = std::min(tile_rows, in_slab - first);
      std::vector<float>& values = rows[static_cast<size_t>(thread)];
      load_rows(piece, from, slab + first, count, values);
      float& most = largest[static_cast<size_t>(thread)];
      for (const float value : values) most = std::max(most, std::fabs(value));
      std::byte* out = encoded.data() + first * row_bytes;
      if (piece.importance.empty()) {
        piece.codec->quantize(values.data(), count * piece.width, out);
        return;
      }
      for (int64_t row = 0; row < count; ++row)
        piece.codec->quantize_weighted(values.data() + row * piece.width, piece.width,
                                       piece.importance.data(), out + row * row_bytes);
    });
    writer.write(piece.name, encoded);
  }
  const float most = *std::max_element(largest.begin(), largest.end());
  const bool in_f16 = piece.codec->type != BlockType::f32 && piece.codec->type != BlockType::bf16;
  if (in_f16 && most > 0 && most < kLeastF16)
    fail_user(
        "{} holds nothing above {}, less than F16 and the scales of {} resolve; export as f32 or "
        "bf16",
        piece.name, most, piece.codec->name);
}

void note_fallbacks(const std::vector<Piece>& pieces, ExportReport& report) {
  std::map<std::pair<BlockType, BlockType>, std::vector<const Piece*>> fallbacks;
  for (const Piece& piece : pieces)
    if (piece.codec->type != piece.wanted)
      fallbacks[{piece.wanted, piece.codec->type}].push_back(&piece);
  for (const auto& [types, of] : fallbacks)
    report.notes.push_back(fmt::format(
        "{} tensor(s) become {} because {} needs rows of a multiple of {} values (first: {} with "
        "{})",
        of.size(), block_codec(types.second).name, block_codec(types.first).name,
        block_codec(types.first).block_elements, of[0]->name, of[0]->width));
}

}  // namespace

ExportReport export_gguf(const GgufExport& job, const fs::path& out, ThreadTeam& team) {
  require_expressible(job.model);
  require_common_options(job.model);
  const GgufRecipe& recipe = recipe_for(job);
  const GgufVocabulary vocabulary = make_gguf_vocabulary(job.tokenizer, job.model.vocabulary);
  const gguf::ModelKeys keys(job.model.arch);
  const std::vector<Piece> pieces = plan_pieces(job, recipe);

  ExportReport report;
  report.file = out;
  report.type = recipe.name;
  report.parameters = parameter_count(job.table);
  report.notes = vocabulary.notes;
  note_fallbacks(pieces, report);
  if (!job.grid.empty() && &recipe == find_grid_recipe(job.grid))
    report.notes.push_back(fmt::format(
        "trained on the grid of {}: its matrices become {}, embedding and output {}, all exactly "
        "as trained",
        recipe.name, block_codec(recipe.matrices).name, block_codec(recipe.output).name));
  if (!is_llama(job.model.arch) && job.model.gelu != "tanh")
    report.notes.push_back(fmt::format(
        "the model was trained with gelu = {}; runtimes compute the tanh form", job.model.gelu));

  GgufWriter writer(out);
  put_general_keys(writer, job, recipe, keys);
  put_model_keys(writer, job.model, keys);
  put_tokenizer_keys(writer, vocabulary);
  if (job.importance) put_importance_keys(writer, *job.importance);
  if (!job.chat_template.empty()) writer.put_text(gguf::kChatTemplate, job.chat_template);
  std::vector<float> divisors;
  if (job.model.rope_scaling == "llama3") divisors = gguf::rope_divisors(job.model);
  if (!divisors.empty())
    writer.add_tensor(gguf::kRopeDivisors, {static_cast<int64_t>(divisors.size())}, BlockType::f32);
  for (const Piece& piece : pieces) {
    writer.add_tensor(piece.name, piece.dims, piece.codec->type);
    report.tensor_bytes +=
        static_cast<uint64_t>(piece.codec->bytes_for(piece.outputs * piece.width));
  }
  if (!divisors.empty()) writer.write(gguf::kRopeDivisors, std::as_bytes(std::span(divisors)));
  ParameterValues values(job.table, job.parameters, job.source, team);
  for (const Piece& piece : pieces) write_piece(writer, piece, values.of(piece.parameter), team);
  report.file_bytes = writer.finish();
  return report;
}

}  // namespace isoflop
