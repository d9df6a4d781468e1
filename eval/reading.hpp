// Reading: what a model makes of given windows of tokens, with one of its blocks in memory at a
// time. Each block is loaded, run over all windows and dropped; kept are the last hidden state of
// every token and the head, which makes logits of them on demand. The values are those of a Model
// that has everything at once.
#pragma once
#include "core/threads.hpp"
#include "pretrain/model/model.hpp"
#include "pretrain/model_source.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace isoflop {

/// Inputs and the token that follows each, in a window of at most the context.
using Window = std::vector<int32_t>;  // length + 1 ids

class Reading {
 public:
  /// Borrows all of these. `as_stored`: multiply by a file's quantized blocks where they lie.
  Reading(const ModelSource& source,
          const std::vector<Window>& windows,
          Backend& backend,
          ThreadTeam& team,
          bool as_stored = false);

  const std::vector<Window>& windows() const { return windows_; }
  /// What follows tokens [first, first + count) of a window, count <= kHeadTokens. (count, V), in
  /// host memory, valid until the next call.
  View logits(size_t window, int64_t first, int64_t count);

 private:
  void load(const std::vector<bool>& holds, const BlockShape& shape);
  View hidden_of(size_t window) const;

  const ModelSource& source_;
  const std::vector<Window>& windows_;
  Backend& backend_;
  ThreadTeam& team_;
  const ModelConfig config_;
  const ParamTable table_;
  BlockMatrices blocks_;  // of the whole model; empty unless used as stored
  std::vector<int64_t> first_row_;
  Buffer hidden_storage_;
  View hidden_;  // (tokens of all windows, D)
  // Of the part at hand: the model reads the parameters.
  BlockMatrices part_blocks_;
  ParamBuffer parameters_;
  std::unique_ptr<Model> model_;
};

}  // namespace isoflop
