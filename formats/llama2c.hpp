// llama2.c's model files (Karpathy): a header of seven numbers and F32 tensors one after another.
//
// Version 0 (without a magic number): i32 dim, hidden_dim, n_layers, n_heads, n_kv_heads,
// vocab_size (negative: the head is a matrix of its own), seq_len; then the tensors in the order of
// Llama2cTensor, each kind for all layers at once, with two tables of rotations before the head.
// Version 1: "ak42", version, the same seven numbers, u8 shared head, padding to 256 bytes; all
// norms first, then the matrices, no rotations. Version 2 (8-bit) is refused.
#pragma once
#include "core/file.hpp"

#include <array>
#include <cstdint>
#include <span>

namespace isoflop {

enum class Llama2cTensor {
  embedding,  // (vocabulary, dim)
  norm1,      // (dim) each
  q,          // (heads * head_dim, dim) each, rows rotated in interleaved pairs
  k,          // (kv_heads * head_dim, dim) each
  v,
  out,    // (dim, heads * head_dim) each
  norm2,  // (dim) each
  gate,   // (hidden, dim) each; w1
  down,   // (dim, hidden) each; w2
  up,     // (hidden, dim) each; w3
  norm,   // (dim)
  head,   // (vocabulary, dim), absent when shared
};

class Llama2cFile {
 public:
  /// FormatError naming the field unless the header is sound and the file has exactly the size that
  /// it asks for.
  explicit Llama2cFile(const fs::path& path);
  /// Over bytes the caller keeps alive; `origin` stands for the file in messages.
  Llama2cFile(std::span<const std::byte> bytes, std::string origin);
  /// A header with such numbers and the size that fits them.
  static bool looks_like_llama2c(const fs::path& path);

  int64_t dim = 0, hidden = 0, layers = 0, heads = 0, kv_heads = 0, vocabulary = 0, context = 0;
  bool shared_head = true;
  int64_t head_dim() const { return dim / heads; }
  const std::string& origin() const { return origin_; }

  /// F32 bytes (not aligned) of one layer's tensor; layer 0 for those that come once.
  std::span<const std::byte> tensor(Llama2cTensor kind, int64_t layer = 0) const;

 private:
  void read(std::span<const std::byte> bytes);
  void lay_out(std::span<const std::byte> data, int version);
  int64_t elements(Llama2cTensor kind) const;  // of one layer's
  bool once(Llama2cTensor kind) const;

  MappedFile file_;
  std::string origin_;
  std::array<const std::byte*, 12> first_{};  // by kind
};

}  // namespace isoflop
