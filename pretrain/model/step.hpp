// What a block sees while it runs: the backend, the parameters, where gradients go, and the shape
// of the micro-batch. Parallelism and sharding stay behind these names, outside the blocks.
//
// N = B*T tokens of B sequences. D = d_model, F = d_ff, H heads, Hkv kv_heads, hd head_dim. With
// tensor parallelism F, H and Hkv are a rank's part of the model's, and the residual stream, its
// norms and their gradients are a rank's slice of the tokens: Ns of N
// (parallel/tensor_parallel.hpp).
#pragma once
#include "core/param.hpp"
#include "ops/backend.hpp"
#include "parallel/tensor_parallel.hpp"
#include "pretrain/config/run_config.hpp"

#include <initializer_list>
#include <vector>

namespace isoflop {

/// Quantized matrices of a file, one entry per row of the table; empty where there is a master.
using BlockMatrices = std::vector<BlockMatrix>;

/// Masters, and the backend's form of those that are multiplied by.
struct Parameters {
  const ParamTable* table = nullptr;
  const ParamBuffer* masters = nullptr;
  std::vector<WeightRef> weights;  // one per row; empty handle for vectors and what is not held

  Parameters(const ParamTable& t,
             const ParamBuffer& m,
             Backend& backend,
             const BlockMatrices& blocks = {});
  void refresh(Backend& backend, size_t first, size_t last);  // [first, last) after the optimizer
};

/// Keys and values of the tokens seen so far, for one sequence that is being decoded.
struct KvCache {
  std::vector<View> keys, values;  // per layer, (context, Hkv*hd)
  int64_t length = 0;              // tokens held
  int32_t document_start = 0;      // position of the document they end in
  Buffer buffer;

  KvCache(const ModelConfig& config, Backend& backend);
};

/// What happens in a pass outside of the blocks: where parameters that are still on their way are
/// waited for, and gradients that are complete leave. Blocks count from 0; -1 is what lies before
/// them, config.layers what lies behind (ParamSpec::stage_block).
class PassHooks {
 public:
  virtual ~PassHooks() = default;
  /// The forward pass is about to read the parameters of a block.
  virtual void before_forward(int block) = 0;
  /// The backward pass adds nothing more to the gradients of a block's feed-forward half
  /// (ParamSpec::feed_forward).
  virtual void after_feed_forward(int block) = 0;
  /// Nor to any of the block's.
  virtual void after_backward(int block) = 0;
};

struct Step {
  Backend& backend;
  const ModelConfig& config;
  const Parameters& params;
  int64_t sequences = 1;         // B
  int64_t length = 0;            // T
  View rope_cos, rope_sin;       // (context, rotary_dim/2); absent in gpt3
  ParamBuffer* grads = nullptr;  // null when no backward follows
  KvCache* cache = nullptr;      // decoding: B = 1, positions start at cache->length
  FirstKeys first_keys = {};     // of each token, where attention stays within documents
  TensorParallel* tp = nullptr;  // null: we have all of each matrix
  PassHooks* hooks = nullptr;

  int64_t tokens() const { return sequences * length; }
  int64_t first_position() const { return cache ? cache->length : 0; }
  View master(int param) const { return param < 0 ? View{} : (*params.masters)[param]; }
  View grad(int param) const { return param < 0 ? View{} : (*grads)[param]; }

  void before_forward(int64_t block) const {
    if (hooks) hooks->before_forward(static_cast<int>(block));
  }
  void after_feed_forward(int64_t block) const {
    if (hooks) hooks->after_feed_forward(static_cast<int>(block));
  }
  void after_backward(int64_t block) const {
    if (hooks) hooks->after_backward(static_cast<int>(block));
  }

  // What other ranks have, around products that they share; alone, all of it is there already.
  /// Our slice (Ns, D) of what such products read -> (N, D).
  View whole(View slice) const { return tp ? tp->whole(slice, tokens()) : slice; }
  /// The same of gradients.
  View whole_gradient(View slice) const { return tp ? tp->whole_gradient(slice, tokens()) : slice; }
  /// Where such products leave our part of a sum over all tokens, of which `slice` gets its rows.
  View partial(View slice) const { return tp ? tp->partial(tokens()) : slice; }
  /// Then: slice = the sum of all parts.
  void reduce(View slice) const {
    if (tp) tp->reduce(slice, tokens());
  }
};

/// y = x W^T + b by index into the table. Carries where tensor parallelism cuts it: by outputs
/// (column), x and dx are of all tokens, y is a part; by inputs (row), x is a part, y a slice.
struct Linear {
  int weight = -1;
  int bias = -1;
  bool by_inputs = false;

  Linear() = default;
  Linear(const ParamTable& table, const std::string& name);

  /// y = add + scale * (x W^T + b)
  void forward(Step& s, View x, View y, View add = {}, double scale = 1) const;
  /// pre = x W^T + b, y = gelu(pre); not where it is cut by inputs.
  void forward_gelu(Step& s, View x, View pre, View y, Gelu kind) const;
  /// dW += scale dy^T x, db += scale sum dy, dx = scale dy W (added to dx when `accumulate`). All
  /// of all tokens: whole_gradient(dy) where it is cut by inputs, partial(dx) where by outputs.
  void backward(Step& s, View dy, View x, View dx, double scale = 1, bool accumulate = false) const;
  /// The same where x = gelu(pre): gets the gradient of `pre` in its place.
  void backward_gelu(Step& s, View dy, View x, View pre, View dpre, Gelu kind, double scale) const;

 private:
  void add_weight_gradient(Step& s, View dy, View x, double scale) const;
  friend void add_branches(Step&, std::initializer_list<struct Branch>, View, View, double);
  void multiply(Step& s, View x, View y, View add, double scale) const;
};

/// The last product of a branch that ends in the residual stream.
struct Branch {
  const Linear& linear;  // cut by inputs
  View x;
};
/// y = add + scale * sum of (x W^T + b), in one reduction. y may be the storage of `add`.
void add_branches(Step& s, std::initializer_list<Branch> branches, View y, View add, double scale);

/// softmax(scale q k^T) v over packed (N, (H + 2 Hkv) hd), through the cache when decoding.
void attention_forward(Step& s, int layer, View qkv, View out, View lse);
void attention_backward(Step& s, View dout, View qkv, View out, View lse, View dqkv);
/// RMSNorm on each head of the queries and keys, before they are rotated (Henry et al. 2020;
/// Dehghani et al. 2023); one gain for all query heads, one for all key heads.
class QkNorm {
 public:
  QkNorm() = default;
  /// Of the parameters NAME.q_norm.weight and NAME.k_norm.weight; off when the table has none.
  QkNorm(const ParamTable& table, const std::string& name);
  explicit operator bool() const { return q_gain_ >= 0; }

  /// raw, qkv: packed (N, (H + 2 Hkv) hd); inv_rms: (N, H + Hkv), state dtype.
  void forward(Step& s, View raw, View inv_rms, View qkv) const;
  /// dqkv to draw, of the same shape.
  void backward(Step& s, View dqkv, View raw, View inv_rms, View draw) const;

 private:
  int q_gain_ = -1, k_gain_ = -1;
};

/// Rotates the queries and keys of qkv in place; `inverse` for gradients.
void rotate(Step& s, View qkv, bool inverse);

}  // namespace isoflop
