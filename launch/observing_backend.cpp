#include "launch/observing_backend.hpp"

#include <string_view>

namespace isoflop {

WeightRef ObservingBackend::prepare(View master) {
  const WeightRef weight = ForwardingBackend::prepare(master);
  masters_of_[weight.handle] = master.data;
  return weight;
}

void ObservingBackend::keep(CoordModule module, View values) {
  synchronize();
  std::vector<float>& kept = (*observation_)[static_cast<size_t>(module)];
  for (int64_t row = 0; row < values.rows; ++row)
    for (int64_t col = 0; col < values.cols; ++col)
      kept.push_back(static_cast<float>(load_scalar(values, row, col)));
}

void ObservingBackend::embedding_forward(const EmbeddingForward& op) {
  ForwardingBackend::embedding_forward(op);
  if (observation_) keep(CoordModule::embedding, op.y);
}

void ObservingBackend::matmul(const Matmul& op) {
  ForwardingBackend::matmul(op);
  if (!observation_ || !masters_) return;
  const void* master = masters_of_[op.w.handle];
  size_t index = 0;
  while (index < table_.size() && (*masters_)[index].data != master) ++index;
  if (index == table_.size()) return;
  const ParamSpec& spec = table_[index];
  // Only products with a tied table are seen here; its look-ups are not.
  if (spec.role == ParamRole::embedding || spec.role == ParamRole::output)
    return keep(CoordModule::logits, op.y);
  const bool mlp = spec.name.ends_with(".mlp.down.weight");
  if (!mlp && !spec.name.ends_with(".attention.out.weight")) return;
  // What the module computes, without the stream it is added to and its multiplier.
  const size_t bytes = static_cast<size_t>(op.y.rows * op.y.cols) * size_of(op.y.dtype);
  if (scratch_.bytes() < bytes) scratch_ = allocate(bytes, "a module's output");
  const View y = make_view(scratch_.data(), op.y.dtype, op.y.rows, op.y.cols);
  ForwardingBackend::matmul({.x = op.x, .w = op.w, .bias = op.bias, .add = {}, .y = y});
  keep(mlp ? CoordModule::mlp : CoordModule::attention, y);
  if (!mlp) return;
  (*observation_)[static_cast<size_t>(CoordModule::stream)].clear();  // the last block's stays
  keep(CoordModule::stream, op.y);
}

/// Scores of every eighth query, all its keys and heads.
void ObservingBackend::attention_forward(const AttentionForward& op) {
  ForwardingBackend::attention_forward(op);
  if (!observation_) return;
  synchronize();
  const AttentionShape& s = op.shape;
  std::vector<float>& kept = (*observation_)[static_cast<size_t>(CoordModule::attention_logits)];
  for (int64_t sequence = 0; sequence < s.batch; ++sequence)
    for (int64_t query = 7; query < s.queries; query += 8)
      for (int64_t head = 0; head < s.heads; ++head)
        for (int64_t key = 0; key <= query; ++key) {
          const int64_t kv = head / (s.heads / s.kv_heads);
          double score = 0;
          for (int64_t i = 0; i < s.head_dim; ++i)
            score += load_scalar(op.q, sequence * s.queries + query, head * s.head_dim + i) *
                     load_scalar(op.k, sequence * s.key_stride() + key, kv * s.head_dim + i);
          kept.push_back(static_cast<float>(score * s.scale));
        }
}

}  // namespace isoflop
