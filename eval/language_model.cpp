#include "eval/language_model.hpp"

#include "datasets/corpus.hpp"
#include "datasets/text_reader.hpp"
#include "eval/sliding.hpp"
#include "pretrain/model_source.hpp"

#include <algorithm>
#include <numbers>

namespace isoflop {

namespace {

/// Tokens scored at once: enough for the matrix products, little enough for a laptop's memory.
constexpr int64_t kScoreTokens = 2048;

}  // namespace

LanguageModel::LanguageModel(const fs::path& path,
                             Backend& backend,
                             ThreadTeam& team,
                             const LoadOptions& options)
    : source_(open_model(path)), config_(source_->config()), table_(make_param_table(config_)) {
  BlockMatrices blocks;
  if (options.as_stored) blocks = source_->blocks(table_, backend);
  std::vector<bool> dense(table_.size(), true);
  for (size_t i = 0; i < blocks.size(); ++i) dense[i] = !blocks[i];
  parameters_ = ParamBuffer(table_, DType::f32, "parameters", dense);
  source_->read_parameters(table_, parameters_, team);
  tokenizer_ = source_->tokenizer();
  chat_ = source_->chat();
  origin_ = source_->origin();
  notes_ = source_->notes();
  batch_ = std::max<int64_t>(1, kScoreTokens / config_.context);
  model_ = std::make_unique<Model>(
      config_, table_, parameters_, backend,
      BlockShape{.tokens = options.tokens > 0 ? std::min(options.tokens, config_.context)
                                              : batch_ * config_.context,
                 .recompute = Recompute::none,
                 .training = false},
      blocks);
}

const Tokenizer& LanguageModel::tokenizer() const {
  return require_tokenizer(tokenizer_.get(), origin_);
}

double TextScore::bits_per_byte() const {
  return bytes > 0 ? score.nats / std::numbers::ln2 / static_cast<double>(bytes) : 0;
}

static void score_into(TextScore& result,
                       LanguageModel& model,
                       uint64_t count,
                       const TokenReader& read,
                       int64_t stride) {
  result.score = stride > 0
                     ? score_sliding(model.model(), count, read, stride, model.batch(), result.nats)
                     : score_tokens(model.model(), count, read, model.batch(), &result.nats);
  result.ids.resize(count > 0 ? count - 1 : 0);
  if (!result.ids.empty()) read(1, result.ids);
}

TextScore score_documents(LanguageModel& model,
                          const std::vector<std::string>& documents,
                          int64_t stride) {
  const Tokenizer& tokenizer = model.tokenizer();
  const int separator = tokenizer.separator();
  TextScore result;
  std::vector<int32_t> tokens;
  if (separator >= 0) tokens.push_back(separator);
  for (const std::string& document : documents) {
    tokenizer.encode(document, tokens);
    if (separator >= 0) tokens.push_back(separator);
    result.bytes += document.size();
  }
  const auto outside = std::find_if(tokens.begin(), tokens.end(),
                                    [&](int32_t id) { return id >= model.config().vocabulary; });
  if (outside != tokens.end())
    fail_user(
        "the tokenizer gives id {}, but the model has {} embeddings: they do not belong together",
        *outside, model.config().vocabulary);
  const auto read = [&](uint64_t first, std::span<int32_t> out) {
    std::copy_n(tokens.begin() + static_cast<std::ptrdiff_t>(first), out.size(), out.begin());
  };
  score_into(result, model, tokens.size(), read, stride);
  return result;
}

std::vector<std::string> read_documents(const std::vector<std::string>& inputs) {
  const Corpus corpus = Corpus::open(inputs);
  TextReader reader(corpus);
  std::vector<std::string> documents;
  for (TextPiece piece; reader.next(piece); documents.back().append(piece.text))
    if (piece.first) documents.emplace_back();
  return documents;
}

TextScore score_store(LanguageModel& model, const TokenStore& store, int64_t stride) {
  if (store.info().vocabulary > model.config().vocabulary)
    fail_user(
        "{} was tokenized with {} tokens, but the model has {} embeddings: they do not belong "
        "together",
        store.path().string(), store.info().vocabulary, model.config().vocabulary);
  TextScore result;
  result.bytes = store.info().text_bytes;
  const auto read = [&](uint64_t first, std::span<int32_t> out) { store.read(first, out); };
  score_into(result, model, store.tokens(), read, stride);
  if (result.bytes == 0 && model.find_tokenizer()) {
    std::vector<int32_t> text(store.tokens());
    store.read(0, text);
    std::erase(text, store.info().separator);
    result.bytes = model.tokenizer().decode(text).size();
  }
  return result;
}

}  // namespace isoflop
