// Byte-level tokenizers: each byte is a token, and merges (none for the kind `bytes`) join them
// within the pieces of a splitting rule. Some vocabularies lack the 13 bytes that UTF-8 does not
// use; where text has one of them it becomes U+FFFD.
#pragma once
#include "datasets/tokenizer/merge_table.hpp"
#include "datasets/tokenizer/pre_tokenizer.hpp"
#include "datasets/tokenizer/vocabulary.hpp"
#include "datasets/tokenizer/workspace_pool.hpp"

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace isoflop {

struct BpeRules {
  std::vector<std::pair<int32_t, int32_t>> merges;  // left id, right id; best first, all different
  std::vector<int32_t> results;                     // the id that each of them makes
  SplitRule split;
  bool ignore_merges = false;  // a piece that is a token is not merged
  int32_t unknown = -1;        // stands for a byte without a token; -1: it is passed over
};

class BpeTokenizer : public VocabularyTokenizer {
 public:
  /// Every byte of UTF-8 has a token; make_tokenizer() checks this. `origin` is for messages.
  BpeTokenizer(Vocabulary vocabulary, BpeRules rules, const std::string& origin);
  ~BpeTokenizer() override;

  Kind kind() const override { return merges_.empty() ? Kind::bytes : Kind::bpe; }
  std::vector<std::string> merges() const override;
  TokenizerRules rules() const override;
  std::string to_json() const override;

 protected:
  void encode_plain(std::string_view text,
                    size_t begin,
                    size_t size,
                    bool more,
                    std::vector<int32_t>& ids) const override;

 private:
  struct Workspace;
  bool lossy() const;
  void encode_piece(std::string_view piece, Workspace& work, std::vector<int32_t>& ids) const;
  void merge_piece(std::string_view piece, Workspace& work) const;

  std::vector<std::pair<int32_t, int32_t>> merges_;
  MergeTable table_;
  PreTokenizer rule_;
  bool byte_by_byte_;                  // no merge and no rule changes anything
  std::array<int32_t, 256> byte_ids_;  // -1: none
  int32_t unknown_;
  std::unordered_map<std::string_view, int32_t> whole_;  // tokens by bytes, with ignore_merges
  mutable WorkspacePool<Workspace> pool_;
};

}  // namespace isoflop
