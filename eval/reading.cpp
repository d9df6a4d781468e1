#include "eval/reading.hpp"

#include <algorithm>

namespace isoflop {

Reading::Reading(const ModelSource& source,
                 const std::vector<Window>& windows,
                 Backend& backend,
                 ThreadTeam& team,
                 bool as_stored)
    : source_(source),
      windows_(windows),
      backend_(backend),
      team_(team),
      config_(source.config()),
      table_(make_param_table(config_)) {
  if (as_stored) blocks_ = source.blocks(table_, backend);
  int64_t rows = 0, longest = 1;
  for (const Window& window : windows) {
    const int64_t length = static_cast<int64_t>(window.size()) - 1;
    first_row_.push_back(rows);
    rows += length;
    longest = std::max(longest, length);
  }
  const DType dtype = backend.activation_dtype();
  hidden_storage_ = backend.allocate(static_cast<size_t>(rows * config_.d_model) * size_of(dtype),
                                     "hidden states of a text");
  hidden_ = make_view(hidden_storage_.data(), dtype, rows, config_.d_model);

  const auto head = static_cast<size_t>(
      find_param(table_, config_.tied_embeddings ? "embedding.weight" : "head.weight"));
  std::vector<bool> holds(table_.size());
  for (int64_t block = 0; block < config_.layers; ++block) {
    for (size_t i = 0; i < table_.size(); ++i) {
      const int64_t place = table_[i].stage_block;
      const bool last_norm = place == config_.layers && i != head;
      holds[i] =
          place == block || (block == 0 && place < 0) || (block + 1 == config_.layers && last_norm);
    }
    load(holds, {.tokens = longest, .training = false, .stage = {block, block + 1}});
    for (size_t w = 0; w < windows.size(); ++w) {
      const View hidden = hidden_of(w);
      const Batch batch{1, hidden.rows, std::span(windows[w]).first(windows[w].size() - 1), {}};
      backend.copy(model_->forward_stage(0, batch, hidden), hidden);
    }
  }
  for (size_t i = 0; i < table_.size(); ++i) holds[i] = i == head;
  load(holds,
       {.tokens = kHeadTokens, .training = false, .stage = {config_.layers, config_.layers}});
}

/// Drops the part before first.
void Reading::load(const std::vector<bool>& holds, const BlockShape& shape) {
  model_.reset();
  parameters_ = ParamBuffer();
  part_blocks_ = blocks_;
  std::vector<bool> dense = holds;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    if (!holds[i]) part_blocks_[i] = {};
    if (blocks_[i]) dense[i] = false;
  }
  parameters_ = ParamBuffer(table_, DType::f32, "a part of the parameters", dense);
  source_.read_parameters(table_, parameters_, team_);
  model_ = std::make_unique<Model>(config_, table_, parameters_, backend_, shape, part_blocks_);
}

View Reading::hidden_of(size_t window) const {
  return hidden_.slice(first_row_[window], static_cast<int64_t>(windows_[window].size()) - 1);
}

View Reading::logits(size_t window, int64_t first, int64_t count) {
  return model_->logits_of(hidden_of(window).slice(first, count));
}

}  // namespace isoflop
