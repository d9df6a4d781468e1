// The activation table: every activation of a block once, with its shape and the recompute level at
// which it is dropped. From it come the one allocation, the memory table that is printed and
// planned with, and what backward has to compute again.
//
// A kept activation has one copy per layer; a dropped one shares a single copy among all layers.
#pragma once
#include "core/buffer.hpp"
#include "ops/backend.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

/// none keeps everything; cheap recomputes norms and activation functions; ffn also the up
/// projections; block everything but the block's input.
enum class Recompute { none, cheap, ffn, block };
Recompute parse_recompute(std::string_view name);

/// The first level at which an activation is not kept from forward to backward. scratch: lives
/// within one block's backward only, so evaluation does not even plan it.
enum class Drop { scratch, at_cheap, at_ffn, at_block, never };

inline bool kept(Drop drop, Recompute level) {
  return static_cast<int>(drop) > static_cast<int>(level);
}

/// One activation's storage and whether it still holds its value. `make_*` functions of a block
/// fill a slot unless it is held, which is all there is to recomputation.
class Slot {
 public:
  void bind(View storage, bool keep) { storage_ = storage, keep_ = keep; }
  /// A new micro-batch: `rows` of the storage are in use and nothing is held.
  void begin(int64_t rows) {
    view_ = storage_ ? storage_.slice(0, rows) : View{};
    held_ = false;
  }
  bool held() const { return held_; }
  View fill() {
    held_ = true;
    return view_;
  }
  View get() const {
    ISOFLOP_CHECK(held_, "an activation was read before it was computed");
    return view_;
  }
  void drop() { held_ = held_ && keep_; }

 private:
  View storage_, view_;
  bool keep_ = false;
  bool held_ = false;
};

/// Rows of an activation: one for each token of a micro-batch, or of our slice of it.
struct TokenRows {
  TokenRows(int64_t n, bool is_slice = false) : count(n), sliced(is_slice) {}
  int64_t count;
  bool sliced;
};

/// One row of a block's table; `slot` says which member of the block's activations it describes.
/// One of no rows belongs to an option that is off.
template <class Activations>
struct ActivationSpec {
  Slot Activations::*slot;
  const char* name;
  TokenRows rows;
  int64_t cols;
  DType dtype;
  Drop drop;
};

/// What one planned allocation holds; also used without ever allocating, to count.
class ActivationPlan {
 public:
  struct Row {
    std::string name;
    int64_t rows, cols;
    DType dtype;
    int64_t copies;
    size_t offset;  // of the first copy
    size_t copy_bytes() const {
      return Arena::aligned(static_cast<size_t>(rows * cols) * size_of(dtype));
    }
    size_t bytes() const { return copy_bytes() * static_cast<size_t>(copies); }
  };

  size_t add(std::string name, int64_t rows, int64_t cols, DType dtype, int64_t copies);
  const std::vector<Row>& rows() const { return rows_; }
  size_t bytes() const { return bytes_; }
  void allocate(Backend& backend);
  View view(size_t row, int64_t copy) const;

 private:
  std::vector<Row> rows_;
  size_t bytes_ = 0;
  Buffer buffer_;
};

}  // namespace isoflop
