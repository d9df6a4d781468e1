#include "pretrain/model/model.hpp"

#include "pretrain/model/gpt3_block.hpp"
#include "pretrain/model/llama_block.hpp"
#include "pretrain/model/pythia_block.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace isoflop {

std::unique_ptr<BlockStack> make_blocks(const ModelConfig& config,
                                        const ParamTable& table,
                                        const BlockShape& shape,
                                        DType activation,
                                        DType state,
                                        ActivationPlan& plan) {
  switch (config.arch) {
    case Arch::gpt3:
      return std::make_unique<BlockStackOf<Gpt3Block>>(config, table, shape, activation, state,
                                                       plan);
    case Arch::pythia:
      return std::make_unique<BlockStackOf<PythiaBlock>>(config, table, shape, activation, state,
                                                         plan);
    case Arch::llama:
      return std::make_unique<BlockStackOf<LlamaBlock>>(config, table, shape, activation, state,
                                                        plan);
  }
  return nullptr;
}

namespace {

/// Rows of the plan that belong to the model itself, in the order they are added.
struct OuterRows {
  size_t last, normed, mean, inv, dres, dnormed, logits, losses, rope_cos, rope_sin;

  OuterRows(const ModelConfig& c,
            const BlockShape& shape,
            DType activation,
            DType state,
            ActivationPlan& plan) {
    const int64_t N = shape.tokens, Ns = shape.largest_slice(), D = c.d_model;
    const int64_t train = shape.training ? Ns : 0;
    const bool predicts = shape.blocks(c).last == c.layers;
    const int64_t P = predicts ? N : 0, Ps = predicts ? Ns : 0;
    const int64_t rope_rows = has_rope(c.arch) ? c.context : 0;
    last = plan.add("last", Ns, D, activation, 1);
    normed = plan.add("normed", Ps, D, activation, 1);
    mean = plan.add("mean", Ps, 1, state, 1);
    inv = plan.add("inv_std", Ps, 1, state, 1);
    dres = plan.add("dres", train, D, activation, 1);
    dnormed = plan.add("dnormed", predicts ? train : 0, D, activation, 1);
    logits = plan.add("logits", std::min(P, kHeadTokens), c.vocabulary, activation, 1);
    losses = plan.add("losses", P, 1, state, 1);
    rope_cos = plan.add("rope_cos", rope_rows, c.rotary_dim() / 2, state, 1);
    rope_sin = plan.add("rope_sin", rope_rows, c.rotary_dim() / 2, state, 1);
  }
};

void fill_rope_table(const ModelConfig& c, View cosines, View sines) {
  for (int64_t j = 0; j < cosines.cols; ++j) {
    const double frequency = rope_frequency(c, j);
    for (int64_t position = 0; position < cosines.rows; ++position) {
      const double angle = static_cast<double>(position) * frequency;
      store_scalar(cosines, position, j, std::cos(angle));
      store_scalar(sines, position, j, std::sin(angle));
    }
  }
}

}  // namespace

ActivationPlan plan_activations(const ModelConfig& config,
                                const BlockShape& shape,
                                DType activation,
                                DType state) {
  ActivationPlan plan;
  make_blocks(config, make_param_table(config), shape, activation, state, plan);
  OuterRows(config, shape, activation, state, plan);
  return plan;
}

Model::Model(const ModelConfig& config,
             const ParamTable& table,
             const ParamBuffer& masters,
             Backend& backend,
             const BlockShape& shape,
             const BlockMatrices& blocks,
             TensorParallel* tp)
    : config_(config),
      backend_(backend),
      tp_(tp),
      params_(table, masters, backend, blocks),
      max_tokens_(shape.tokens),
      shape_(shape),
      range_(shape.blocks(config)) {
  ISOFLOP_CHECK(!predicts() || shape.in_flight == 1, "the last stage has one micro-batch at once");
  const DType activation = backend.activation_dtype(), state = backend.state_dtype();
  blocks_ = make_blocks(config, table, shape, activation, state, plan_);
  const OuterRows rows(config, shape, activation, state, plan_);
  plan_.allocate(backend);
  blocks_->bind(plan_);
  last_.bind(plan_.view(rows.last, 0), true);
  if (predicts()) {
    normed_.bind(plan_.view(rows.normed, 0), true);
    mean_.bind(plan_.view(rows.mean, 0), true);
    inv_.bind(plan_.view(rows.inv, 0), true);
    logits_ = plan_.view(rows.logits, 0);
    losses_storage_ = plan_.view(rows.losses, 0);
  }
  if (tp) share_vocabulary(config.vocabulary);
  if (shape.training) {
    dres_.bind(plan_.view(rows.dres, 0), true);
    if (predicts()) dnormed_.bind(plan_.view(rows.dnormed, 0), true);
  }
  rope_cos_ = plan_.view(rows.rope_cos, 0);
  rope_sin_ = plan_.view(rows.rope_sin, 0);
  if (rope_cos_.size() > 0) {
    const Buffer angles = allocate_host(rope_cos_.bytes() + rope_sin_.bytes(), "angles");
    const View cosines = make_view(angles.data(), rope_cos_.dtype, rope_cos_.rows, rope_cos_.cols);
    const View sines =
        make_view(angles.data() + cosines.bytes(), rope_sin_.dtype, rope_sin_.rows, rope_sin_.cols);
    fill_rope_table(config, cosines, sines);
    backend.upload(cosines, rope_cos_);
    backend.upload(sines, rope_sin_);
  }
  if (config.document_mask) {
    ISOFLOP_CHECK(config.separator >= 0, "a document mask needs the separator's id");
    first_keys_.resize(static_cast<size_t>(shape.tokens));
  }

  embedding_ = find_param(table, "embedding.weight");
  positions_ = find_param(table, "positions.weight");
  norm_ = find_param(table, "norm.weight");
  norm_bias_ = find_param(table, "norm.bias");
  head_ = config.tied_embeddings ? embedding_ : find_param(table, "head.weight");
  head_grad_ = config.tied_embeddings ? static_cast<int>(table.size()) : head_;
}

void Model::forget(int64_t flight, int64_t tokens) {
  blocks_->begin(flight, tokens);
  for (Slot* slot : {&last_, &normed_, &mean_, &inv_, &dres_, &dnormed_})
    slot->begin(shape_.slice_of(tokens));
  losses_ = losses_storage_ ? losses_storage_.slice(0, tokens) : View{};
}

Step Model::make_step(int64_t sequences, int64_t length) {
  const int64_t n = sequences * length;
  ISOFLOP_CHECK(n > 0 && n <= max_tokens_ && length <= config_.context,
                "a micro-batch of {} x {} tokens; planned for {}, context {}", sequences, length,
                max_tokens_, config_.context);
  return Step{.backend = backend_,
              .config = config_,
              .params = params_,
              .sequences = sequences,
              .length = length,
              .rope_cos = rope_cos_,
              .rope_sin = rope_sin_,
              .tp = tp_,
              .hooks = hooks_};
}

Step Model::begin(int64_t sequences, int64_t length) {
  const Step s = make_step(sequences, length);
  forget(0, s.tokens());
  return s;
}

/// Where each token's document starts: at the last separator up to it, or at the window's start.
FirstKeys Model::find_documents(const Step& s, std::span<const int32_t> tokens) {
  int32_t start = 0;
  for (size_t r = 0; r < tokens.size(); ++r) {
    const auto position = static_cast<int32_t>(static_cast<int64_t>(r) % s.length);
    if (position == 0) start = s.cache ? s.cache->document_start : 0;
    if (tokens[r] == config_.separator) start = static_cast<int32_t>(s.first_position()) + position;
    first_keys_[r] = start;
  }
  if (s.cache) s.cache->document_start = start;
  return FirstKeys(first_keys_).first(tokens.size());
}

void Model::embed(Step& s, std::span<const int32_t> tokens, View x) {
  if (tp_) return embed_part(s, tokens, x);
  s.backend.embedding_forward(
      {.tokens = tokens,
       .table = params_.weights[embedding_],
       .positions = positions_ < 0 ? WeightRef{} : params_.weights[positions_],
       .y = x,
       .scale = config_.embedding_multiplier,
       .sequence = s.length,
       .first_position = s.first_position()});
}

/// Each rank looks up what is in its rows; learned positions are added by one of them.
void Model::embed_part(Step& s, std::span<const int32_t> tokens, View x) {
  const View sum = s.partial(x), places = tp_->scratch(s.tokens());
  const auto look_up = [&](std::span<const int32_t> rows, int table, View y) {
    s.backend.embedding_forward({.tokens = rows,
                                 .table = params_.weights[table],
                                 .positions = {},
                                 .y = y,
                                 .scale = config_.embedding_multiplier,
                                 .sequence = s.length});
  };
  own_rows(tokens);
  look_up(rows_or_first(), embedding_, sum);
  clear_rows_elsewhere(sum);
  if (positions_ >= 0 && tp_->first()) {
    look_up(positions(s), positions_, places);
    s.backend.add(places, sum);
  }
  s.reduce(x);
}

void Model::embedding_gradient(Step& s, std::span<const int32_t> tokens, View dx) {
  if (tp_) return embedding_gradient_of_part(s, tokens, dx);
  s.backend.embedding_backward({.dy = dx,
                                .tokens = tokens,
                                .dtable = s.grad(embedding_),
                                .dpositions = s.grad(positions_),
                                .scale = config_.embedding_multiplier,
                                .sequence = s.length});
}

void Model::embedding_gradient_of_part(Step& s, std::span<const int32_t> tokens, View dx) {
  const View dy = s.whole_gradient(dx);
  const auto add = [&](std::span<const int32_t> rows, View dtable) {
    s.backend.embedding_backward({.dy = dy,
                                  .tokens = rows,
                                  .dtable = dtable,
                                  .dpositions = {},
                                  .scale = config_.embedding_multiplier,
                                  .sequence = s.length});
  };
  if (positions_ >= 0 && tp_->first()) add(positions(s), s.grad(positions_));
  own_rows(tokens);
  clear_rows_elsewhere(dy);
  add(rows_or_first(), s.grad(embedding_));
}

std::span<const int32_t> Model::positions(const Step& s) {
  const auto n = static_cast<size_t>(s.tokens());
  for (size_t i = 0; i < n; ++i)
    places_[i] = static_cast<int32_t>(static_cast<int64_t>(i) % s.length);
  return std::span<const int32_t>(places_).first(n);
}

void Model::clear_rows_elsewhere(View x) {
  for (int64_t r = 0; r < x.rows; ++r)
    if (own_rows_[static_cast<size_t>(r)] == kElsewhere) backend_.zero(x.slice(r, 1));
}

std::span<const int32_t> Model::rows_or_first() {
  for (size_t i = 0; i < own_count_; ++i) places_[i] = std::max(own_rows_[i], 0);
  return std::span<const int32_t>(places_).first(own_count_);
}

std::span<const int32_t> Model::own_rows(std::span<const int32_t> ids) {
  if (!tp_) return ids;
  own_count_ = ids.size();
  const auto first = static_cast<int32_t>(vocabulary_.first);
  const auto count = static_cast<int32_t>(vocabulary_.count);
  for (size_t i = 0; i < ids.size(); ++i) {
    const int32_t id = ids[i];
    ISOFLOP_CHECK(id == kIgnoreTarget || (id >= 0 && id < whole_vocabulary_),
                  "token {} outside a vocabulary of {}", id, whole_vocabulary_);
    own_rows_[i] = id == kIgnoreTarget                 ? id
                   : id >= first && id < first + count ? id - first
                                                       : kElsewhere;
  }
  return std::span<const int32_t>(own_rows_).first(ids.size());
}

/// Which rows are ours, from how many each rank has.
void Model::share_vocabulary(int64_t ours) {
  own_rows_.resize(static_cast<size_t>(max_tokens_));
  places_.resize(static_cast<size_t>(max_tokens_));
  sharded_loss_.emplace(*tp_, backend_, std::min(max_tokens_, kHeadTokens));
  const std::vector<int64_t> counts = tp_->gather(ours);
  for (int part = 0; part < tp_->parts(); ++part) {
    if (part == tp_->part()) vocabulary_ = {whole_vocabulary_, ours};
    whole_vocabulary_ += counts[static_cast<size_t>(part)];
  }
}

View Model::forward(Step& s, int64_t flight, std::span<const int32_t> tokens) {
  if (config_.document_mask) s.first_keys = find_documents(s, tokens);
  BlockStack& blocks = *blocks_;
  if (embeds()) {
    s.before_forward(-1);
    embed(s, tokens, blocks.at(flight, 0).input().fill());
  }
  for (int64_t i = range_.first; i < range_.last; ++i) {
    s.before_forward(i);
    blocks.at(flight, i).forward(
        s, i + 1 < range_.last ? blocks.at(flight, i + 1).input().fill() : last_.fill());
  }
  if (!predicts()) return last_.get();
  s.before_forward(config_.layers);

  const View x = last_.get(), y = normed_.fill();
  if (is_llama(config_.arch))
    s.backend.rmsnorm_forward(
        {.x = x, .gain = s.master(norm_), .y = y, .inv_rms = inv_.fill(), .eps = config_.norm_eps});
  else
    s.backend.layernorm_forward({.x = x,
                                 .gain = s.master(norm_),
                                 .bias = s.master(norm_bias_),
                                 .y = y,
                                 .mean = mean_.fill(),
                                 .inv_std = inv_.fill(),
                                 .eps = config_.norm_eps});
  return y;
}

/// hidden (n, D), n <= kHeadTokens -> logits (n, V), soft cap included.
View Model::project(View hidden) {
  const View logits = logits_.slice(0, hidden.rows);
  backend_.matmul({.x = hidden,
                   .w = params_.weights[head_],
                   .bias = {},
                   .add = {},
                   .y = logits,
                   .scale = config_.output_multiplier});
  if (config_.logit_softcap > 0) backend_.softcap({.x = logits, .cap = config_.logit_softcap});
  return logits;
}

// The logits of kHeadTokens tokens at a time: product, loss, and both gradients, then the next
// slice over the same memory.
void Model::head(Step& s, std::span<const int32_t> all_targets, double grad_scale) {
  const std::span<const int32_t> targets = own_rows(all_targets);
  const View hidden = s.whole(normed_.get());
  const View dnormed = s.grads ? s.partial(dnormed_.fill()) : View{};
  const WeightRef& w = params_.weights[head_];
  const double scale = config_.output_multiplier, cap = config_.logit_softcap;
  for (int64_t first = 0; first < hidden.rows; first += kHeadTokens) {
    const int64_t n = std::min(kHeadTokens, hidden.rows - first);
    const View x = hidden.slice(first, n), logits = project(x);
    const CrossEntropy loss = {.logits = logits,
                               .targets = targets.subspan(first, n),
                               .losses = losses_.slice(first, n),
                               .grad_scale = grad_scale,
                               .z_loss = s.grads ? config_.z_loss : 0,
                               .softcap = cap};
    sharded_loss_ ? sharded_loss_->cross_entropy(loss) : s.backend.cross_entropy(loss);
    if (!s.grads) continue;
    s.backend.matmul_grad_weight(
        {.dy = logits, .x = x, .dw = s.grad(head_grad_), .dbias = {}, .scale = scale});
    s.backend.matmul_grad_input(
        {.dy = logits, .w = w, .dx = dnormed.slice(first, n), .scale = scale});
  }
  if (s.grads) s.reduce(dnormed_.get());
}

/// The gradient of the last block's output: overwrites dres.
void Model::backward_norm(Step& s, View dres) {
  const View dy = dnormed_.get();
  s.backend.zero(dres);  // the norm below adds, as every norm does
  if (is_llama(config_.arch))
    s.backend.rmsnorm_backward({.dy = dy,
                                .x = last_.get(),
                                .gain = s.master(norm_),
                                .inv_rms = inv_.get(),
                                .dx_add = dres,
                                .dgain = s.grad(norm_)});
  else
    s.backend.layernorm_backward({.dy = dy,
                                  .x = last_.get(),
                                  .gain = s.master(norm_),
                                  .mean = mean_.get(),
                                  .inv_std = inv_.get(),
                                  .dx_add = dres,
                                  .dgain = s.grad(norm_),
                                  .dbias = s.grad(norm_bias_)});
}

double Model::total_loss() {
  host_losses_ = on_host(losses_, losses_copy_);
  double sum = 0;
  for (int64_t i = 0; i < host_losses_.rows; ++i) sum += load_scalar(host_losses_, i, 0);
  return sum;
}

View Model::on_host(View here, Buffer& copy) {
  backend_.synchronize();
  if (backend_.in_host_memory()) return here;
  if (copy.bytes() < here.bytes()) copy = allocate_host(here.bytes(), "results of the device");
  const View host = make_view(copy.data(), here.dtype, here.rows, here.cols);
  backend_.download(here, host);
  return host;
}

View Model::forward_stage(int64_t flight, const Batch& batch, View input) {
  Step s = make_step(batch.sequences, batch.length);
  forget(flight, s.tokens());
  if (!embeds()) backend_.copy(input, blocks_->at(flight, range_.first).input().fill());
  return forward(s, flight, batch.tokens);
}

double Model::score_stage(const Batch& batch) {
  if (!predicts()) return 0;
  Step s = make_step(batch.sequences, batch.length);
  head(s, batch.targets, 0);
  return total_loss();
}

double Model::backward_stage(int64_t flight,
                             const Batch& batch,
                             ParamBuffer& grads,
                             double grad_scale,
                             View output_gradient,
                             View loss_sum) {
  Step s = make_step(batch.sequences, batch.length);
  s.grads = &grads;
  if (config_.document_mask) s.first_keys = find_documents(s, batch.tokens);
  const View dres = dres_.fill();
  if (predicts()) {
    head(s, batch.targets, grad_scale);
    backward_norm(s, dres);
    s.after_backward(config_.layers);
  } else {
    backend_.copy(output_gradient, dres);
  }
  for (int64_t i = range_.last - 1; i >= range_.first; --i) {
    blocks_->at(flight, i).backward(s, dres);
    s.after_backward(i);
  }
  if (embeds()) {
    embedding_gradient(s, batch.tokens, dres);
    s.after_backward(-1);
  }
  if (!predicts()) return 0;
  if (!loss_sum) return total_loss();
  backend_.add_sum(losses_, loss_sum);
  return 0;
}

void Model::read(const Batch& batch) {
  Step s = begin(batch.sequences, batch.length);
  forward(s, 0, batch.tokens);
}

View Model::decode(std::span<const int32_t> tokens, KvCache& cache) {
  const int64_t n = static_cast<int64_t>(tokens.size());
  ISOFLOP_CHECK(cache.length + n <= config_.context, "{} tokens do not fit a context of {}",
                cache.length + n, config_.context);
  Step s = begin(1, n);
  s.cache = &cache;
  const View hidden = forward(s, 0, tokens);
  cache.length += n;
  return logits_of(hidden.slice(n - 1, 1));
}

}  // namespace isoflop
