// A transformer block with an explicit backward. Sister files, one per architecture, each readable
// on its own: gpt3_block.cpp, llama_block.cpp. They share Linear and attention calls, not control
// flow.
#pragma once
#include "parallel/pipeline.hpp"
#include "pretrain/model/activation_plan.hpp"
#include "pretrain/model/step.hpp"

#include <memory>
#include <vector>

namespace isoflop {

class Block {
 public:
  virtual ~Block() = default;

  /// The block's input, filled by whoever comes before it. (Ns, D)
  virtual Slot& input() = 0;
  /// Writes the block's output to y, which may be the storage of the input. Forgets what it held.
  virtual void forward(Step& s, View y) = 0;
  /// In: dres = dL/dy. Out: dres = dL/dx. Adds parameter gradients. Needs the forward before it.
  virtual void backward(Step& s, View dres) = 0;
};

/// How a block's activations are laid out: N tokens per micro-batch at most, and what is
/// recomputed. As a stage of a pipeline: which blocks, and how many micro-batches may be between
/// their forward and their backward pass at once; each has its own copy of what is kept. As one of
/// several parts of each matrix: which slice of the tokens the residual stream has.
struct BlockShape {
  int64_t tokens = 0;  // N
  Recompute recompute = Recompute::none;
  bool training = true;        // false: nothing is kept, the gradients' scratch is not planned
  BlockRange stage = {0, -1};  // last < 0: all blocks
  int64_t in_flight = 1;
  int part = 0, parts = 1;  // the model's config is a part's

  /// Of `n` tokens.
  int64_t slice_of(int64_t n) const { return part_of(n, part, parts).count; }
  int64_t largest_slice() const { return part_of(tokens, 0, parts).count; }
  BlockRange blocks(const ModelConfig& config) const {
    return stage.last < 0 ? BlockRange{0, config.layers} : stage;
  }
};

/// The blocks of a model, or of a stage, and their activations, once for each micro-batch in
/// flight.
class BlockStack {
 public:
  virtual ~BlockStack() = default;
  /// Once, after the plan was allocated.
  virtual void bind(const ActivationPlan& plan) = 0;
  /// Before each micro-batch: how many tokens it has; forgets the one before.
  virtual void begin(int64_t flight, int64_t tokens) = 0;
  virtual Block& at(int64_t flight, int64_t layer) = 0;
};

/// Adds the rows of all blocks to `plan`; nothing is allocated here.
std::unique_ptr<BlockStack> make_blocks(const ModelConfig& config,
                                        const ParamTable& table,
                                        const BlockShape& shape,
                                        DType activation,
                                        DType state,
                                        ActivationPlan& plan);

/// The stack of one sister: B is the block, B::Activations its slots, B::activations() their table.
template <class B>
class BlockStackOf : public BlockStack {
 public:
  BlockStackOf(const ModelConfig& config,
               const ParamTable& table,
               const BlockShape& shape,
               DType activation,
               DType state,
               ActivationPlan& plan)
      : range_(shape.blocks(config)), shape_(shape) {
    for (int64_t flight = 0; flight < shape.in_flight; ++flight)
      for (int64_t layer = range_.first; layer < range_.last; ++layer)
        blocks_.push_back(std::make_unique<B>(config, table, static_cast<int>(layer)));
    const auto copies = static_cast<int64_t>(blocks_.size());
    const TokenRows slice(shape.largest_slice(), true);
    for (const auto& spec : B::activations(config, shape.tokens, slice, activation, state)) {
      if (spec.rows.count == 0 || (spec.drop == Drop::scratch && !shape.training)) continue;
      const bool keep = shape.training && kept(spec.drop, shape.recompute);
      const size_t row =
          plan.add(spec.name, spec.rows.count, spec.cols, spec.dtype, keep ? copies : 1);
      planned_.push_back({spec.slot, row, keep, spec.rows.sliced});
    }
  }
  void bind(const ActivationPlan& plan) override {
    for (size_t copy = 0; copy < blocks_.size(); ++copy)
      for (const Planned& p : planned_)
        (blocks_[copy]->acts.*p.slot)
            .bind(plan.view(p.row, p.keep ? static_cast<int64_t>(copy) : 0), p.keep);
  }
  void begin(int64_t flight, int64_t tokens) override {
    const int64_t slice = shape_.slice_of(tokens);
    for (int64_t layer = range_.first; layer < range_.last; ++layer)
      for (const Planned& p : planned_)
        (blocks_[index(flight, layer)]->acts.*p.slot).begin(p.sliced ? slice : tokens);
  }
  Block& at(int64_t flight, int64_t layer) override { return *blocks_[index(flight, layer)]; }

 private:
  struct Planned {
    Slot B::Activations::*slot;
    size_t row;
    bool keep, sliced;
  };
  size_t index(int64_t flight, int64_t layer) const {
    return static_cast<size_t>(flight * range_.size() + layer - range_.first);
  }

  BlockRange range_;
  BlockShape shape_;
  std::vector<std::unique_ptr<B>> blocks_;
  std::vector<Planned> planned_;
};

}  // namespace isoflop
