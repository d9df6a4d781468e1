// LanguageModel: any model we can read (run folder, checkpoint, GGUF file), ready to score and to
// write.
#pragma once
#include "core/file.hpp"
#include "core/threads.hpp"
#include "datasets/token_store.hpp"
#include "datasets/tokenizer.hpp"
#include "pretrain/model/model.hpp"
#include "pretrain/model_source.hpp"
#include "pretrain/train/score.hpp"

#include <memory>
#include <string>
#include <vector>

namespace isoflop {

struct LoadOptions {
  bool as_stored = false;  // multiply by a file's quantized blocks where they lie; no fp32 of them
  int64_t tokens = 0;      // that model() takes at once; 0: what scoring needs, whole contexts
};

class LanguageModel {
 public:
  /// Loads everything; UserError or FormatError when `path` is none of these or damaged. The
  /// backend and team outlive it.
  LanguageModel(const fs::path& path,
                Backend& backend,
                ThreadTeam& team,
                const LoadOptions& options = {});

  const ModelConfig& config() const { return config_; }
  const ParamTable& table() const { return table_; }
  /// Without what is used as stored.
  const ParamBuffer& parameters() const { return parameters_; }
  /// UserError when the model came without one.
  const Tokenizer& tokenizer() const;
  /// Null when the model came without one.
  const Tokenizer* find_tokenizer() const { return tokenizer_.get(); }
  const ChatFormat& chat() const { return chat_; }
  /// The grid that training left the parameters on (schedule.quantize), or "".
  const std::string& grid() const { return source_->grid(); }
  /// What was loaded, for people: "runs/a/checkpoints/step-00000500".
  const std::string& origin() const { return origin_; }
  const std::vector<std::string>& notes() const { return notes_; }
  /// For at least context tokens at once, unless the options say how many.
  Model& model() { return *model_; }
  /// Windows of context tokens that model() takes at once.
  int64_t batch() const { return batch_; }

 private:
  std::unique_ptr<const ModelSource> source_;  // whose mapping holds the blocks
  ModelConfig config_;
  ParamTable table_;
  ParamBuffer parameters_;
  std::unique_ptr<const Tokenizer> tokenizer_;
  ChatFormat chat_;
  std::string origin_;
  std::vector<std::string> notes_;
  int64_t batch_ = 1;
  std::unique_ptr<Model> model_;
};

struct TextScore {
  Score score;
  uint64_t bytes = 0;        // of text, separators not counted
  std::vector<int32_t> ids;  // the scored tokens, in order
  std::vector<double> nats;  // of each
  double bits_per_byte() const;
};

/// Documents in order, each followed by the separator; the first token is predicted from a
/// separator in front. A tokenizer without separator leaves the first token unscored. `stride` 0:
/// windows without overlap; else see sliding.hpp.
TextScore score_documents(LanguageModel& model,
                          const std::vector<std::string>& documents,
                          int64_t stride = 0);

/// The documents of text files, folders or globs, whole.
std::vector<std::string> read_documents(const std::vector<std::string>& inputs);

/// A whole store, as validation does during training. Files of other programs do not say how long
/// their text is: it is what the tokens stand for, or unknown (0) without a tokenizer.
TextScore score_store(LanguageModel& model, const TokenStore& store, int64_t stride = 0);

}  // namespace isoflop
