#include "pretrain/config/aliases.hpp"

#include <utility>

namespace isoflop {

namespace {

constexpr std::pair<std::string_view, std::string_view> kAliases[] = {
    {"n_layer", "model.layers"},
    {"n_layers", "model.layers"},
    {"num_layers", "model.layers"},
    {"num_hidden_layers", "model.layers"},
    {"depth", "model.layers"},
    {"n_embd", "model.d_model"},
    {"hidden_size", "model.d_model"},
    {"embed_dim", "model.d_model"},
    {"dim", "model.d_model"},
    {"width", "model.d_model"},
    {"n_head", "model.heads"},
    {"n_heads", "model.heads"},
    {"num_heads", "model.heads"},
    {"num_attention_heads", "model.heads"},
    {"n_kv_head", "model.kv_heads"},
    {"n_kv_heads", "model.kv_heads"},
    {"num_kv_heads", "model.kv_heads"},
    {"num_key_value_heads", "model.kv_heads"},
    {"head_size", "model.head_dim"},
    {"intermediate_size", "model.d_ff"},
    {"ffn_hidden_size", "model.d_ff"},
    {"filter_size", "model.d_ff"},
    {"n_inner", "model.d_ff"},
    {"block_size", "model.context"},
    {"n_positions", "model.context"},
    {"n_ctx", "model.context"},
    {"max_position_embeddings", "model.context"},
    {"max_seq_len", "model.context"},
    {"seq_length", "model.context"},
    {"sequence_length", "model.context"},
    {"vocab_size", "model.vocabulary"},
    {"tie_word_embeddings", "model.tied_embeddings"},
    {"rms_norm_eps", "model.norm_eps"},
    {"layer_norm_eps", "model.norm_eps"},
    {"layer_norm_epsilon", "model.norm_eps"},
    {"rope_theta", "model.rope_base"},
    {"initializer_range", "model.init_std"},
    {"learning_rate", "optimizer.lr"},
    {"max_lr", "optimizer.lr"},
    {"peak_lr", "optimizer.lr"},
    {"epsilon", "optimizer.eps"},
    {"adam_eps", "optimizer.eps"},
    {"grad_clip", "optimizer.clip"},
    {"max_grad_norm", "optimizer.clip"},
    {"gradient_clip_val", "optimizer.clip"},
    {"max_iters", "schedule.steps"},
    {"max_steps", "schedule.steps"},
    {"train_iters", "schedule.steps"},
    {"warmup_iters", "schedule.warmup"},
    {"warmup_steps", "schedule.warmup"},
    {"lr_scheduler_type", "schedule.decay"},
    {"micro_batch_size", "schedule.micro_batch"},
};

}  // namespace

std::string key_for_alias(std::string_view name) {
  const std::string_view last = name.substr(name.rfind('.') + 1);  // npos + 1 = 0: no section
  for (const auto& [alias, key] : kAliases) {
    if (alias == last) return std::string(key);
  }
  return {};
}

}  // namespace isoflop
