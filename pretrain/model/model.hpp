// Model: embedding, blocks, final norm, head. forward_backward is one micro-batch of training,
// evaluate the same without gradients, decode one sequence token by token through a KV cache.
//
// Borrows config, table, masters and backend; they outlive it. All memory is planned in the
// constructor; no call below allocates. Not thread-safe: the backend's own team computes.
#pragma once
#include "pretrain/model/architecture.hpp"
#include "pretrain/model/block.hpp"
#include "pretrain/model/sharded_loss.hpp"

#include <memory>
#include <optional>
#include <span>

namespace isoflop {

/// N = sequences * length tokens and their targets (kIgnoreTarget: not scored).
struct Batch {
  int64_t sequences = 0;  // B
  int64_t length = 0;     // T <= context
  std::span<const int32_t> tokens;
  std::span<const int32_t> targets;
};

/// Rows of the logits that exist at once.
inline constexpr int64_t kHeadTokens = 512;

/// Everything a model will allocate for micro-batches of `shape.tokens` tokens, without allocating
/// it: what --dry-run and the planner print.
ActivationPlan plan_activations(const ModelConfig& config,
                                const BlockShape& shape,
                                DType activation,
                                DType state);

class Model {
 public:
  Model(const ModelConfig& config,
        const ParamTable& table,
        const ParamBuffer& masters,
        Backend& backend,
        const BlockShape& shape,
        const BlockMatrices& blocks = {},  // instead of masters; not for training
        TensorParallel* tp = nullptr);     // config and table are a part's; borrowed

  /// Adds the gradient of grad_scale * (sum of token losses) to `grads`, shaped by
  /// make_gradient_table. Returns the sum of the token losses in nats, the z-loss included.
  double forward_backward(const Batch& batch, ParamBuffer& grads, double grad_scale) {
    forward_stage(0, batch, {});
    return backward_stage(0, batch, grads, grad_scale, {});
  }
  /// The sum of the token losses in nats.
  double evaluate(const Batch& batch) {
    forward_stage(0, batch, {});
    return score_stage(batch);
  }

  // The same in two halves, over the blocks of shape.stage only. A stage before the last takes part
  // in no loss and returns 0 for it.

  /// Embeds, or starts from `input`, what the stage before put out. `flight` < shape.in_flight says
  /// which copy of the activations is filled; the last stage has one. Returns the output of the
  /// stage, (Ns, D), valid until the next call.
  View forward_stage(int64_t flight, const Batch& batch, View input);
  /// The batch is that of the forward pass. `output_gradient`: from the stage behind; absent in the
  /// last, which computes the loss first. With `loss_sum`, where the backend keeps numbers, that is
  /// what the loss is added to; the call does not wait for it, and returns 0.
  double backward_stage(int64_t flight,
                        const Batch& batch,
                        ParamBuffer& grads,
                        double grad_scale,
                        View output_gradient,
                        View loss_sum = {});
  /// After backward_stage: of the stage's input. (Ns, D)
  View input_gradient() const { return dres_.get(); }
  /// After forward_stage, without gradients: the sum of the token losses.
  double score_stage(const Batch& batch);

  bool embeds() const { return range_.first == 0; }
  bool predicts() const { return range_.last == config_.layers; }
  /// Per token, of the last call. (N, 1), state dtype, in host memory
  View losses() const { return host_losses_; }

  /// The forward pass alone; targets are not read. Logits of any of its rows are computed on
  /// demand, until the next call of anything but logits().
  void read(const Batch& batch);
  /// What follows rows [first, first + count) of the batch that was read, count <= kHeadTokens.
  /// (count, V), in host memory, valid until the next call.
  View logits(int64_t first, int64_t count) { return logits_of(normed_.get().slice(first, count)); }
  /// What follows tokens whose hidden states a last stage put out: (n, D), n <= kHeadTokens, in the
  /// backend's memory. (n, V), in host memory, valid until the next call.
  View logits_of(View hidden) { return on_host(project(hidden), logits_copy_); }

  /// Appends `tokens` (at most shape.tokens of them) to the cache and returns the logits that
  /// follow the last one. (1, V), in host memory, valid until the next call.
  View decode(std::span<const int32_t> tokens, KvCache& cache);

  void refresh_weights() { params_.refresh(backend_, 0, params_.weights.size()); }
  /// Of the parameters [first, last) of the table alone.
  void refresh_weights(size_t first, size_t last) { params_.refresh(backend_, first, last); }
  /// Borrowed; null: none.
  void set_hooks(PassHooks* hooks) { hooks_ = hooks; }
  const ActivationPlan& plan() const { return plan_; }
  const ModelConfig& config() const { return config_; }
  int64_t max_tokens() const { return max_tokens_; }

 private:
  void forget(int64_t flight, int64_t tokens);
  Step make_step(int64_t sequences, int64_t length);
  Step begin(int64_t sequences, int64_t length);
  View forward(Step& s, int64_t flight, std::span<const int32_t> tokens);
  View project(View hidden);
  void head(Step& s, std::span<const int32_t> targets, double grad_scale);
  void backward_norm(Step& s, View dres);
  double total_loss();
  /// The same values where the host may read them: in `copy`, unless they are there already.
  View on_host(View here, Buffer& copy);
  FirstKeys find_documents(const Step& s, std::span<const int32_t> tokens);
  void share_vocabulary(int64_t ours);
  void embed(Step& s, std::span<const int32_t> tokens, View x);
  void embed_part(Step& s, std::span<const int32_t> tokens, View x);
  void embedding_gradient(Step& s, std::span<const int32_t> tokens, View dx);
  void embedding_gradient_of_part(Step& s, std::span<const int32_t> tokens, View dx);
  /// Tokens or targets as rows of our part of the vocabulary, or kElsewhere.
  std::span<const int32_t> own_rows(std::span<const int32_t> ids);
  /// Of the last call of own_rows: zeroes the rows of x whose token is elsewhere.
  void clear_rows_elsewhere(View x);
  /// Of the same: row 0 for those, valid until the next call or positions().
  std::span<const int32_t> rows_or_first();
  std::span<const int32_t> positions(const Step& s);

  const ModelConfig& config_;
  Backend& backend_;
  PassHooks* hooks_ = nullptr;
  TensorParallel* tp_;
  Parameters params_;
  int64_t max_tokens_;
  BlockShape shape_;
  BlockRange range_;
  ActivationPlan plan_;
  std::unique_ptr<BlockStack> blocks_;
  Slot last_, normed_, mean_, inv_, dres_, dnormed_;  // around the blocks
  std::vector<int32_t> first_keys_;                   // with a document mask, one per token
  std::optional<ShardedLoss> sharded_loss_;           // with a part of the vocabulary:
  std::vector<int32_t> own_rows_, places_;            // rows of it, and positions, of tokens
  size_t own_count_ = 0;                              // tokens in own_rows_
  RowRange vocabulary_;                               // ours
  int64_t whole_vocabulary_ = 0;
  View logits_, losses_, losses_storage_, host_losses_, rope_cos_, rope_sin_;
  Buffer losses_copy_, logits_copy_;  // only where the backend's memory is not the host's
  int embedding_, positions_, norm_, norm_bias_, head_, head_grad_;
};

}  // namespace isoflop
