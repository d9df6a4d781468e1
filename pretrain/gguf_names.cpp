#include "pretrain/gguf_names.hpp"

namespace isoflop::gguf {

ModelKeys::ModelKeys(Arch arch) {
  for (const auto& [known, name] : kArchitectures)
    if (known == arch) architecture = name;
  const auto key = [&](std::string_view rest) { return architecture + "." + std::string(rest); };
  context_length = key("context_length");
  embedding_length = key("embedding_length");
  block_count = key("block_count");
  feed_forward_length = key("feed_forward_length");
  head_count = key("attention.head_count");
  head_count_kv = key("attention.head_count_kv");
  key_length = key("attention.key_length");
  value_length = key("attention.value_length");
  norm_epsilon =
      key(is_llama(arch) ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon");
  vocab_size = key("vocab_size");
  parallel_residual = key("use_parallel_residual");
  rope_dimension_count = key("rope.dimension_count");
  rope_freq_base = key("rope.freq_base");
  rope_scaling_type = key("rope.scaling.type");
  rope_scaling_factor = key("rope.scaling.factor");
  expert_count = key("expert_count");
}

}  // namespace isoflop::gguf
