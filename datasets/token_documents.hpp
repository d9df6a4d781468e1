// The documents of a token store, whichever format it has, and what they are like.
#pragma once
#include "datasets/token_store.hpp"
#include "datasets/tokenizer.hpp"

#include <functional>
#include <string>
#include <vector>

namespace isoflop {

/// Calls `work` with the range of tokens of each document, the separators around it left out, in
/// order; documents without tokens are passed over. Where the file does not say where documents
/// are, separators part them. `work` returns false to end it.
void for_each_document(const TokenStore& store,
                       const std::function<bool(uint64_t first, uint64_t last)>& work);

/// Bytes of text that tokens [first, last) stand for.
class TokenBytes {
 public:
  explicit TokenBytes(const Tokenizer& tokenizer);
  uint64_t of(const TokenStore& store, uint64_t first, uint64_t last) const;
  const std::vector<uint32_t>& of_tokens() const { return bytes_; }  // 0 for special ones

 private:
  std::vector<uint32_t> bytes_;
};

}  // namespace isoflop
