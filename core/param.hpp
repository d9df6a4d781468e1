// ParamSpec: one row per parameter, read alike by initialization, optimizer, sharding, μP,
// checkpoint and export. An architecture (pretrain/model/*.cpp) writes the table; nothing else
// knows names.
#pragma once
#include "core/buffer.hpp"
#include "core/view.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

/// What a tensor does, in μP's sense (Tensor Programs V, table 3): which of its dimensions grow.
enum class ParamRole : uint8_t { embedding, hidden, output, vector };
/// Which of the model's sizes the inputs (cols) or outputs (rows) of a matrix grow with.
enum class Fan : uint8_t { width, feed_forward };
/// What changes it in a step (pretrain/optim): muon takes whole matrices.
enum class Update : uint8_t { adamw, muon };
/// How tensor parallelism would cut it: by output rows, by input columns, by vocabulary, or not.
enum class Placement : uint8_t { replicated, column, row, vocabulary };
/// What multiplies a tensor on its way into a plain file (facts: folding of multipliers).
enum class Fold : uint8_t { none, embedding, attention_query, residual, output, output_norm };

/// How another program lays out a tensor whose rows are our outputs.
enum class Layout : uint8_t {
  plain,
  transposed,  // a matrix of inputs x outputs
  by_head,     // queries, keys and values of one head after another; ours: all q, all k, all v
  half_split,  // the two entries that a head rotates lie half a head apart; ours side by side
};

/// Rows [first, first+count) of the tensor under another program's name; count 0 = all rows.
struct ForeignName {
  std::string name;
  int64_t first_row = 0;
  int64_t row_count = 0;
  Layout layout = Layout::plain;
  int64_t head_rows = 0;  // outputs of a head, for by_head and half_split
};

struct ParamSpec {
  std::string name;  // blocks.7.attention.qkv.weight
  int64_t rows = 1;  // outputs; a vector is one row
  int64_t cols = 0;  // inputs
  ParamRole role = ParamRole::hidden;
  Fan fan_in = Fan::width, fan_out = Fan::width;
  std::vector<int64_t> parts;  // rows of the matrices that it is stacked from; empty = it is one
  bool decay = false;          // weight decay applies (matrices and embeddings, never vectors)
  double init_std = 0;         // normal(0, init_std); 0 with init_value for constants
  double init_value = 0;       // gains 1, biases 0
  Update update = Update::adamw;
  // Factors on the optimizer's numbers (muP/parametrization.hpp); 1 under sp.
  double lr_scale = 1;     // on the schedule's rate
  double eps_scale = 1;    // on Adam's epsilon
  double decay_scale = 1;  // on the decay coefficient, which the scaled rate multiplies
  Placement placement = Placement::replicated;
  int stage_block = -1;           // block index; -1 before the first, layers after the last
  bool feed_forward = false;      // of a block: of the half whose gradients are complete first
  Fold fold = Fold::none;         // multiplier folded in on export ...
  int64_t fold_rows = 0;          // ... into the first fold_rows outputs; 0 = all
  std::vector<ForeignName> gguf;  // names in a GGUF file, covering all rows
  std::vector<ForeignName> hugging_face;  // and in a Hugging Face folder; none: it has no place

  bool is_vector() const { return role == ParamRole::vector; }
  int64_t size() const { return rows * cols; }
  /// Whether its optimizer keeps a second moment.
  bool has_second_moment() const { return update == Update::adamw; }
};

using ParamTable = std::vector<ParamSpec>;

int64_t parameter_count(const ParamTable& table);

/// Zeroed memory of the host (allocate_host) or of a device, for what the text says.
using Allocate = std::function<Buffer(size_t bytes, const std::string& what)>;

/// One flat buffer shaped like the table (masters, gradients, a moment): tensor i starts at a
/// multiple of kAlignment bytes; the gaps stay zero.
class ParamBuffer {
 public:
  ParamBuffer() = default;
  ParamBuffer(const ParamTable& table,
              DType dtype,
              const std::string& what,
              const Allocate& allocate = allocate_host);
  /// Only of the parameters i with holds[i]; the views of the others are absent.
  ParamBuffer(const ParamTable& table,
              DType dtype,
              const std::string& what,
              const std::vector<bool>& holds,
              const Allocate& allocate = allocate_host);
  /// Another of the same shape, zeros, in host memory.
  ParamBuffer twin_on_host(const std::string& what) const {
    return twin_on_host(what, flat_.dtype);
  }
  ParamBuffer twin_on_host(const std::string& what, DType dtype) const;

  View operator[](size_t i) const { return views_[i]; }
  size_t count() const { return views_.size(); }
  std::span<const View> views() const { return views_; }
  View flat() const { return flat_; }  // (1, all elements with gaps)
  size_t bytes() const { return buffer_.bytes(); }
  static size_t bytes_for(const ParamTable& table, DType dtype);

 private:
  Buffer buffer_;
  View flat_;
  std::vector<View> views_;
};

/// Index of `name`, or -1.
int find_param(const ParamTable& table, std::string_view name);

}  // namespace isoflop
