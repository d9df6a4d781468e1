// ModelSource: a model somebody made, whatever file it lies in; the one way in for evaluation,
// generation, import, and runs that continue from it (model.init).
#pragma once
#include "core/file.hpp"
#include "core/param.hpp"
#include "core/threads.hpp"
#include "datasets/tokenizer.hpp"
#include "pretrain/config/run_config.hpp"
#include "pretrain/config/value.hpp"
#include "pretrain/model/step.hpp"

#include <memory>
#include <string>
#include <vector>

namespace isoflop {

/// What a model's file says about chats.
struct ChatFormat {
  std::string chat_template;     // Jinja; "" for a base model
  std::string bos, eos;          // texts of these tokens, "" where there is none
  bool add_bos = false;          // text begins with bos, whether the template says so or not
  std::vector<int32_t> end_ids;  // end an answer, besides the tokenizer's separator
};

class ModelSource {
 public:
  virtual ~ModelSource() = default;

  /// Resolved.
  virtual const ModelConfig& config() const = 0;
  /// The table of make_param_table(config()), in f32; parameters whose views are absent are left
  /// out.
  virtual void read_parameters(const ParamTable& table,
                               ParamBuffer& parameters,
                               ThreadTeam& team) const = 0;
  /// The matrices of that table which lie in the file as blocks that `backend` multiplies by, where
  /// they lie: good as long as this object. Empty when there are none.
  virtual BlockMatrices blocks(const ParamTable& /*table*/, const Backend& /*backend*/) const {
    return {};
  }
  /// Null when the file has none.
  virtual std::unique_ptr<Tokenizer> tokenizer() const = 0;
  virtual ChatFormat chat() const { return {}; }
  /// The grid that training left the parameters on (schedule.quantize), or "".
  virtual const std::string& grid() const { return no_grid_; }
  /// What was opened, for people: "runs/a/checkpoints/step-00000500".
  virtual const std::string& origin() const = 0;
  /// What the user should know, in words.
  virtual const std::vector<std::string>& notes() const = 0;

 private:
  std::string no_grid_;
};

/// A run folder, a checkpoint, a GGUF file, a Hugging Face folder or a llama2.c model. UserError or
/// FormatError when `path` is none of these, is damaged, or is something that our models cannot
/// represent.
std::unique_ptr<ModelSource> open_model(const fs::path& path);

/// `tokenizer`, which came with the model `origin`; UserError when it is null.
const Tokenizer& require_tokenizer(const Tokenizer* tokenizer, const std::string& origin);

/// The model's shape as settings of a run: model.* keys, and data.tokenizer where the source has a
/// tokenizer, taken from `path` itself.
std::vector<Setting> model_settings(const fs::path& path);

/// UserError unless `source` has exactly the tensors of `table`, names and shapes; names the first
/// that differs.
void require_tensors_of(const ModelSource& source, const ParamTable& table);

}  // namespace isoflop
