#include "export/hf_export.hpp"

#include "core/error.hpp"
#include "core/math.hpp"
#include "export/hf_tokenizer.hpp"
#include "export/new_folder.hpp"
#include "export/parameter_values.hpp"
#include "formats/safetensors.hpp"
#include "pretrain/fold.hpp"
#include "pretrain/hf_config.hpp"
#include "pretrain/hf_names.hpp"
#include "pretrain/model/architecture.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace isoflop {

namespace {

constexpr int64_t kTileValues = 1 << 16;
constexpr float kLargestF16 = 65504;

/// One tensor of the folder.
struct Piece {
  hf::Stored stored;
  int parameter;   // its row in the job's table; -1: zeros
  int64_t folded;  // our first so many outputs are multiplied
  float factor;
};

/// The table with the biases that these classes always have; a model without writes zeros.
ParamTable complete_table(ModelConfig model) {
  model.biases = true;
  return make_param_table(model);
}

/// In the order of the file: from the embeddings up, the reverse of the table's.
std::vector<Piece> plan_pieces(const HfExport& job, const ParamTable& table) {
  std::vector<Piece> pieces;
  for (size_t i = table.size(); i-- > 0;) {
    const ParamSpec& spec = table[i];
    const int own = find_param(job.table, spec.name);
    for (const ForeignName& foreign : spec.hugging_face) {
      Piece piece{hf::Stored(spec, foreign), own, 0,
                  static_cast<float>(fold_factor(job.model, spec.fold))};
      piece.folded = spec.fold_rows > 0 ? spec.fold_rows : piece.stored.outputs;
      pieces.push_back(piece);
    }
  }
  return pieces;
}

void store(DType dtype, float value, std::byte* at) {
  if (dtype == DType::f32) {
    std::memcpy(at, &value, sizeof(value));
  } else {
    const uint16_t bits = dtype == DType::f16 ? to_f16(value).bits : to_bf16(value).bits;
    std::memcpy(at, &bits, sizeof(bits));
  }
}

/// Stored rows [first, first + count), multiplied by what is folded; refuses what the type cannot
/// hold.
void encode_rows(const Piece& piece,
                 const float* values,
                 DType dtype,
                 int64_t first,
                 int64_t count,
                 std::byte* out) {
  const hf::Stored& stored = piece.stored;
  const float limit = dtype == DType::f16 ? kLargestF16 : std::numeric_limits<float>::max();
  for (int64_t row = first; row < first + count; ++row)
    for (int64_t col = 0; col < stored.cols; ++col, out += size_of(dtype)) {
      const int64_t output = stored.output(row, col), input = stored.input(row, col);
      const float own = values ? values[output * stored.inputs + input] : 0.0f;
      const float value = output < piece.folded ? own * piece.factor : own;
      if (!(std::fabs(value) <= limit)) [[unlikely]]
        fail_user("{} holds {} at row {}, column {}, which {} cannot; has the run diverged?",
                  stored.foreign.name, value, row, col, safetensors_name(dtype));
      store(dtype, value, out);
    }
}

void write_piece(SafetensorsWriter& writer,
                 const Piece& piece,
                 const float* values,
                 DType dtype,
                 ThreadTeam& team) {
  const hf::Stored& stored = piece.stored;
  const int64_t tile_rows = std::max<int64_t>(1, kTileValues / stored.cols);
  const int64_t slab_rows = tile_rows * 8 * team.size();
  const size_t row_bytes = static_cast<size_t>(stored.cols) * size_of(dtype);
  std::vector<std::byte> encoded;
  for (int64_t slab = 0; slab < stored.rows; slab += slab_rows) {
    const int64_t in_slab = std::min(slab_rows, stored.rows - slab);
    encoded.resize(static_cast<size_t>(in_slab) * row_bytes);
    team.run(div_ceil(in_slab, tile_rows), [&](int64_t tile, int) {
      const int64_t first = tile * tile_rows;
      encode_rows(piece, values, dtype, slab + first, std::min(tile_rows, in_slab - first),
                  encoded.data() + static_cast<size_t>(first) * row_bytes);
    });
    writer.write(encoded);
  }
}

void write_tensors(const HfExport& job,
                   const fs::path& folder,
                   HfReport& report,
                   ThreadTeam& team) {
  const ParamTable table = complete_table(job.model);
  const std::vector<Piece> pieces = plan_pieces(job, table);
  std::vector<SafetensorsRecord> records;
  for (const Piece& piece : pieces) {
    records.push_back({piece.stored.foreign.name, piece.stored.shape()});
    report.tensor_bytes +=
        static_cast<uint64_t>(piece.stored.rows * piece.stored.cols) * size_of(job.dtype);
  }
  const auto shards = cut_into_shards(std::move(records), job.dtype, job.shard_bytes);
  report.files = shards.size();
  ParameterValues values(job.table, job.parameters, job.source, team);
  size_t next = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    SafetensorsWriter writer(folder / shard_name(i, shards.size()), job.dtype, shards[i]);
    for (size_t k = 0; k < shards[i].size(); ++k, ++next)
      write_piece(writer, pieces[next], values.of(pieces[next].parameter), job.dtype, team);
    writer.finish();
  }
  if (shards.size() > 1)
    write_file_atomically(folder / kSafetensorsIndex, safetensors_index(shards, job.dtype));
}

}  // namespace

DType parse_hf_dtype(const std::string& name) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    if (name == name_of(dtype)) return dtype;
  fail_user("--dtype {}: choose f32, f16 or bf16", name);
}

HfReport export_hf(const HfExport& job, const fs::path& out, bool replace, ThreadTeam& team) {
  hf::require_expressible(job.model);
  if (job.tokenizer && job.tokenizer->vocabulary() > job.model.vocabulary)
    fail_user(
        "the tokenizer has {} tokens and the model's table {} rows; use the tokenizer that the "
        "model was trained with",
        job.tokenizer->vocabulary(), job.model.vocabulary);
  HfReport report;
  report.folder = out;
  report.parameters = parameter_count(job.table);
  if (job.model.document_mask)
    report.notes.push_back(
        "the model was trained with attention within documents (model.document_mask); other "
        "programs do not know where documents end, so give them one at a time");
  if (!job.tokenizer)
    report.notes.push_back("the model has no tokenizer inside, so the folder has none either");

  NewFolder folder(out, replace);
  write_tensors(job, folder.path(), report, team);
  const int separator = job.tokenizer ? job.tokenizer->separator() : -1;
  write_file_atomically(folder.path() / hf::kConfig,
                        hf::write_config(job.model, job.dtype, separator));
  write_file_atomically(folder.path() / hf::kGenerationConfig, hf_generation_config(separator));
  if (job.tokenizer)
    write_hf_tokenizer(*job.tokenizer, job.model, job.chat_template, folder.path(), report.notes);
  if (!job.card.empty()) write_file_atomically(folder.path() / "README.md", job.card);
  folder.commit();
  return report;
}

}  // namespace isoflop
