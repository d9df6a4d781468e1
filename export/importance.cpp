#include "export/importance.hpp"

#include "core/error.hpp"
#include "core/math.hpp"
#include "export/importance_dat.hpp"
#include "formats/gguf.hpp"
#include "pretrain/gguf_names.hpp"

#include <cmath>
#include <cstring>

namespace isoflop {

namespace {

constexpr std::string_view kKind = "imatrix";
constexpr std::string_view kDatasets = "imatrix.datasets";
constexpr std::string_view kChunks = "imatrix.chunk_count";
constexpr std::string_view kChunkSize = "imatrix.chunk_size";
constexpr std::string_view kSums = ".in_sum2";
constexpr std::string_view kCounts = ".counts";

/// F32 values >= 0 that are numbers.
std::vector<float> read_values(const GgufFile& file, const GgufTensor& tensor) {
  if (tensor.codec->type != BlockType::f32 || tensor.rows() != 1)
    fail_format("{}: {} is not one row of F32; matrices of expert models cannot be used",
                file.origin(), tensor.name);
  std::vector<float> values(static_cast<size_t>(tensor.cols()));
  std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  for (size_t i = 0; i < values.size(); ++i)
    if (!(values[i] >= 0 && std::isfinite(values[i])))
      fail_format("{}: {} holds {} at column {}, which is no sum of squares", file.origin(),
                  tensor.name, values[i], i);
  return values;
}

}  // namespace

std::vector<float> ImportanceMatrix::of(std::string_view tensor, int64_t cols) const {
  const auto found = inputs.find(tensor);
  if (found == inputs.end()) return {};
  std::vector<float> means = found->second.sums;
  if (static_cast<int64_t>(means.size()) != cols)
    fail_user("{} has {} columns for {}, the model {}: it is another model's", origin, means.size(),
              tensor, cols);
  for (float& mean : means) mean = found->second.count > 0 ? mean / found->second.count : 1.0f;
  return means;
}

ImportanceMatrix read_importance(const fs::path& path) {
  if (!GgufFile::looks_like_gguf(path)) return read_importance_dat(path);
  const GgufFile file(path);
  const auto kind = file.find_text(gguf::kType);
  if (!kind || *kind != kKind)
    fail_user("{} is a GGUF file, but no importance matrix ({} is not {})", path.string(),
              gguf::kType, kKind);
  ImportanceMatrix matrix;
  matrix.origin = path.string();
  if (file.find(kDatasets))
    for (const std::string_view text : file.texts(kDatasets)) matrix.texts.emplace_back(text);
  matrix.chunks = file.find_u32(kChunks).value_or(0);
  matrix.chunk_tokens = file.find_u32(kChunkSize).value_or(0);
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.name.size() <= kSums.size() || !tensor.name.ends_with(kSums)) continue;
    const std::string name(tensor.name.substr(0, tensor.name.size() - kSums.size()));
    const GgufTensor* counts = file.find_tensor(name + std::string(kCounts));
    if (!counts) fail_format("{}: {} has no {}", file.origin(), name, kCounts);
    const std::vector<float> count = read_values(file, *counts);
    if (count.size() != 1)
      fail_format("{}: {} has {} counts, not one", file.origin(), name, count.size());
    matrix.inputs[name] = {read_values(file, tensor), count[0]};
  }
  if (matrix.inputs.empty()) fail_format("{}: it has no {}", file.origin(), kSums);
  return matrix;
}

void write_importance(const ImportanceMatrix& matrix, const fs::path& path) {
  if (path.extension() == ".dat") return write_importance_dat(matrix, path);
  GgufWriter writer(path);
  writer.put_text(gguf::kType, kKind);
  writer.put_texts(kDatasets, matrix.texts);
  writer.put_u32(kChunks, matrix.chunks);
  writer.put_u32(kChunkSize, matrix.chunk_tokens);
  for (const auto& [name, inputs] : matrix.inputs) {
    writer.add_tensor(name + std::string(kSums), {narrow<int64_t>(inputs.sums.size()), 1},
                      BlockType::f32);
    writer.add_tensor(name + std::string(kCounts), {1, 1}, BlockType::f32);
  }
  for (const auto& [name, inputs] : matrix.inputs) {
    writer.write(name + std::string(kSums), std::as_bytes(std::span(inputs.sums)));
    writer.write(name + std::string(kCounts), std::as_bytes(std::span(&inputs.count, 1)));
  }
  writer.finish();
}

WeightRef CalibratingBackend::prepare(View master) {
  const WeightRef weight = ForwardingBackend::prepare(master);
  masters_[weight.handle] = master.data;
  return weight;
}

void CalibratingBackend::matmul(const Matmul& op) {
  ForwardingBackend::matmul(op);
  ISOFLOP_CHECK(op.x.dtype == DType::f32, "importance is measured in fp32");
  Seen& seen = seen_[op.w.handle];
  seen.sums.resize(static_cast<size_t>(op.x.cols));
  for (int64_t r = 0; r < op.x.rows; ++r) {
    const float* x = op.x.row<float>(r);
    for (int64_t c = 0; c < op.x.cols; ++c)
      seen.sums[static_cast<size_t>(c)] += double{x[c]} * double{x[c]};
  }
  seen.count += op.x.rows;
}

ImportanceMatrix CalibratingBackend::take(const ParamTable& table,
                                          const ParamBuffer& parameters) const {
  ImportanceMatrix matrix;
  for (const auto& [handle, seen] : seen_)
    for (size_t i = 0; i < table.size(); ++i) {
      const auto master = masters_.find(handle);
      if (master == masters_.end() || master->second != parameters[i].data) continue;
      if (table[i].role != ParamRole::hidden) continue;
      for (const ForeignName& name : table[i].gguf)
        matrix.inputs[name.name] = {std::vector<float>(seen.sums.begin(), seen.sums.end()),
                                    static_cast<float>(seen.count)};
    }
  return matrix;
}

}  // namespace isoflop
