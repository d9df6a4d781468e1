#include "cpu/cpu_backend.hpp"

namespace isoflop::cpu {

void CpuBackend::embedding_forward(const EmbeddingForward& op) {
  const View table = master_of(op.table);
  const View positions = op.positions.handle ? master_of(op.positions) : View{};
  const float scale = static_cast<float>(op.scale);
  team_.run(op.y.rows, [&](int64_t r, int) {
    const float* from = table.row<float>(op.tokens[static_cast<size_t>(r)]);
    const float* position =
        positions ? positions.row<float>(op.first_position + r % op.sequence) : nullptr;
    for (int64_t i = 0; i < op.y.cols; ++i)
      op.y.row<float>(r)[i] = scale * (position ? from[i] + position[i] : from[i]);
  });
}

void CpuBackend::embedding_backward(const EmbeddingBackward& op) {
  const float scale = static_cast<float>(op.scale);
  team_.run(1, [&](int64_t, int) {
    for (int64_t r = 0; r < op.dy.rows; ++r) {
      const float* dy = op.dy.row<float>(r);
      float* to = op.dtable.row<float>(op.tokens[static_cast<size_t>(r)]);
      for (int64_t i = 0; i < op.dy.cols; ++i) to[i] += scale * dy[i];
      if (!op.dpositions) continue;
      float* position = op.dpositions.row<float>(r % op.sequence);
      for (int64_t i = 0; i < op.dy.cols; ++i) position[i] += scale * dy[i];
    }
  });
}

}  // namespace isoflop::cpu
