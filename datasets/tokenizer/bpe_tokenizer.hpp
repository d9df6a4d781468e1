// Byte-level tokenizers: each byte is a token, and merges (none for the kind `bytes`) join them
// within the pieces of a splitting rule.
#pragma once
#include "datasets/tokenizer/merge_table.hpp"
#include "datasets/tokenizer/pre_tokenizer.hpp"
#include "datasets/tokenizer/vocabulary.hpp"

#include <array>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace isoflop {

class BpeTokenizer : public VocabularyTokenizer {
 public:
  /// `merges` (left id, right id), best first, all different; `results` the id each of them makes.
  /// Every byte has a token. make_tokenizer() checks this.
  BpeTokenizer(Vocabulary vocabulary,
               std::vector<std::pair<int32_t, int32_t>> merges,
               const std::vector<int32_t>& results);
  ~BpeTokenizer() override;

  Kind kind() const override { return merges_.empty() ? Kind::bytes : Kind::bpe; }
  std::vector<std::string> merges() const override;
  std::string to_json() const override;

 protected:
  void encode_plain(std::string_view text,
                    size_t begin,
                    size_t size,
                    std::vector<int32_t>& ids) const override;

 private:
  struct Workspace;
  std::unique_ptr<Workspace> borrow() const;
  void encode_piece(std::string_view piece, Workspace& work, std::vector<int32_t>& ids) const;

  std::vector<std::pair<int32_t, int32_t>> merges_;
  MergeTable table_;
  PreTokenizer rule_;
  std::array<int32_t, 256> byte_ids_{};
  // What encoding needs besides the tokenizer: one per call under way, kept for the calls to come.
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace isoflop
