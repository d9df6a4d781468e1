#include "pretrain/hf_config.hpp"

#include "core/json.hpp"
#include "pretrain/hf_names.hpp"

#include <algorithm>
#include <cmath>
#include <set>

namespace isoflop::hf {

namespace {

using Json = nlohmann::ordered_json;

// Far above any model and far below where products of three of them overflow.
constexpr int64_t kMostWidth = 1 << 20, kMostLayers = 4096, kMostTokens = 1 << 24;
constexpr size_t kMostBytes = 16 << 20;

/// Keys that change nothing in what a model computes, by how they begin.
constexpr std::string_view kHarmless[] = {"architectures",
                                          "model_type",
                                          "torch_dtype",
                                          "dtype",
                                          "transformers",
                                          "_name_or_path",
                                          "_attn_implementation",
                                          "bos_token_id",
                                          "eos_token_id",
                                          "pad_token_id",
                                          "unk_token_id",
                                          "use_cache",
                                          "resid_pdrop",
                                          "embd_pdrop",
                                          "attn_pdrop",
                                          "attention_dropout",
                                          "hidden_dropout",
                                          "classifier_dropout",
                                          "summary_",
                                          "task_specific",
                                          "n_ctx",
                                          "pretraining_tp",
                                          "is_llama_config",
                                          "is_decoder",
                                          "output_",
                                          "return_dict",
                                          "reorder_and_upcast_attn",
                                          "id2label",
                                          "label2id",
                                          "gradient_checkpointing",
                                          "max_length",
                                          "do_sample",
                                          "max_sequence_length",
                                          "problem_type"};
/// Keys that would change what is computed, unless they say "off".
constexpr std::string_view kRefused[] = {"quantization_config",
                                         "compression_config",
                                         "sliding_window",
                                         "use_sliding_window",
                                         "num_local_experts",
                                         "num_experts",
                                         "use_qk_norm",
                                         "qk_norm",
                                         "qk_layernorm",
                                         "final_logit_softcapping",
                                         "attn_logit_softcapping",
                                         "logit_scale",
                                         "embedding_multiplier",
                                         "residual_multiplier",
                                         "attention_multiplier",
                                         "logits_scaling",
                                         "rope_interleaved",
                                         "add_cross_attention",
                                         "scale_attn_by_inverse_layer_idx",
                                         "is_encoder_decoder",
                                         "no_rope_layers",
                                         "pruned_heads"};

bool is_off(const Json& value) {
  return value.is_null() || value == false || value == 0 || value.empty();
}

class Keys {
 public:
  Keys(const Json& object, std::string origin, std::string prefix = "")
      : object_(object), origin_(std::move(origin)), prefix_(std::move(prefix)) {}

  /// Null when absent, or null there.
  const Json* find(const char* key) {
    used_.insert(key);
    const auto found = object_.find(key);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }
  int64_t size(const char* key, int64_t most = kMostWidth) {
    const Json* value = find(key);
    if (!value) fail_format("{}: {}{} is missing", origin_, prefix_, key);
    if (!value->is_number_integer() || value->get<double>() < 1 ||
        value->get<double>() > static_cast<double>(most))
      refuse(key, fmt::format("a whole number from 1 to {}", most));
    return value->get<int64_t>();
  }
  int64_t size_or(const char* key, int64_t otherwise, int64_t most = kMostWidth) {
    return find(key) ? size(key, most) : otherwise;
  }
  double positive_or(const char* key, double otherwise) {
    const Json* value = find(key);
    if (!value) return otherwise;
    if (!value->is_number() || !(value->get<double>() > 0) || !std::isfinite(value->get<double>()))
      refuse(key, "a positive number");
    return value->get<double>();
  }
  bool flag_or(const char* key, bool otherwise) {
    const Json* value = find(key);
    if (!value) return otherwise;
    if (!value->is_boolean()) refuse(key, "true or false");
    return value->get<bool>();
  }
  std::string text_or(const char* key, const char* otherwise) {
    const Json* value = find(key);
    if (!value) return otherwise;
    if (!value->is_string()) refuse(key, "a text");
    return value->get<std::string>();
  }
  void require_flag(const char* key, bool wanted) {
    if (flag_or(key, wanted) != wanted) unsupported(key);
  }
  [[noreturn]] void refuse(const char* key, const std::string& wanted) const {
    fail_format("{}: {}{} = {} is not {}", origin_, prefix_, key, shown(key), wanted);
  }
  [[noreturn]] void unsupported(const char* key) const {
    fail_user("{}: {}{} = {} is not supported", origin_, prefix_, key, shown(key));
  }
  /// What was not looked at: refused, noted or of no consequence.
  void finish(std::vector<std::string>& notes) const {
    for (const auto& [key, value] : object_.items()) {
      if (used_.count(key)) continue;
      const auto begins = [&name = key](std::string_view start) { return name.starts_with(start); };
      if (std::any_of(std::begin(kHarmless), std::end(kHarmless), begins)) continue;
      if (std::find(std::begin(kRefused), std::end(kRefused), key) == std::end(kRefused)) {
        if (!is_off(value))
          notes.push_back(fmt::format("{}: {}{} is not known here and has no effect", origin_,
                                      prefix_, key.substr(0, 100)));
      } else if (!is_off(value)) {
        unsupported(key.c_str());
      }
    }
  }
  const std::string& origin() const { return origin_; }

 private:
  std::string shown(const std::string& key) const {
    return object_.at(key).dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 200);
  }

  const Json& object_;
  std::string origin_, prefix_;
  std::set<std::string> used_;
};

Keys object_of(Keys& keys, const char* name, const Json& value) {
  if (!value.is_object()) keys.refuse(name, "an object");
  return Keys(value, keys.origin(), std::string(name) + ".");
}

const ModelClass& read_class(Keys& keys) {
  const std::string type = keys.text_or("model_type", "");
  const ModelClass* found = nullptr;
  for (const ModelClass& known : kClasses)
    if (known.type == type) found = &known;
  if (!found)
    fail_user("{}: model_type \"{}\" is not supported, only gpt2, gpt_neox and llama",
              keys.origin(), type.substr(0, 100));
  if (const Json* classes = keys.find("architectures");
      classes && std::find(classes->begin(), classes->end(), found->name) == classes->end())
    fail_user("{}: architectures does not name {}, which a model of type {} must be here",
              keys.origin(), found->name, type);
  return *found;
}

/// gelu_new, gelu_fast and gelu_pytorch_tanh are three spellings of one formula.
std::string read_gelu(Keys& keys, const char* key, const char* otherwise) {
  const std::string name = keys.text_or(key, otherwise);
  if (name == "gelu") return "erf";
  if (name == "gelu_new" || name == "gelu_fast" || name == "gelu_pytorch_tanh") return "tanh";
  keys.unsupported(key);
}

void read_scaling(Keys& scaling, ModelConfig& c) {
  const char* const key = scaling.find("rope_type") ? "rope_type" : "type";
  const std::string type = scaling.text_or(key, "default");
  scaling.find("type");
  if (type == "default") return;
  if (type != "linear" && type != "llama3") scaling.unsupported(key);
  c.rope_scaling = type;
  c.rope_scaling_factor = scaling.positive_or("factor", 0);
  if (c.rope_scaling_factor < 1) scaling.unsupported("factor");
  if (type != "llama3") return;
  if (scaling.positive_or("low_freq_factor", 0) != 1) scaling.unsupported("low_freq_factor");
  if (scaling.positive_or("high_freq_factor", 0) != 4) scaling.unsupported("high_freq_factor");
  c.rope_original_context = scaling.size("original_max_position_embeddings", kMostTokens);
}

/// transformers 5 has all of it in rope_parameters, 4 in three keys; `base` and `fraction` are
/// those of the class.
void read_rope(Keys& keys,
               const char* base,
               const char* fraction,
               ModelConfig& c,
               std::vector<std::string>& notes) {
  c.rope_base = keys.positive_or(base, 10000);
  c.rotary_fraction = is_llama(c.arch) ? 1 : 0.25;
  c.rotary_fraction =
      keys.positive_or("partial_rotary_factor", keys.positive_or(fraction, c.rotary_fraction));
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    const Json* value = keys.find(name);
    if (!value) continue;
    Keys rope = object_of(keys, name, *value);
    c.rope_base = rope.positive_or("rope_theta", c.rope_base);
    c.rotary_fraction = rope.positive_or("partial_rotary_factor", c.rotary_fraction);
    read_scaling(rope, c);
    rope.finish(notes);
  }
  if (c.rotary_fraction > 1 || (is_llama(c.arch) && c.rotary_fraction != 1) || c.rotary_dim() < 2 ||
      c.rotary_dim() % 2 != 0)
    fail_user("{}: {} of a head's {} entries cannot be rotated", keys.origin(), c.rotary_fraction,
              c.head_dim);
}

void read_gpt2(Keys& keys, ModelConfig& c) {
  c.d_model = keys.size("n_embd");
  c.layers = keys.size("n_layer", kMostLayers);
  c.heads = keys.size("n_head");
  c.d_ff = keys.size_or("n_inner", 4 * c.d_model);
  c.context = keys.size("n_positions", kMostTokens);
  c.gelu = read_gelu(keys, "activation_function", "gelu_new");
  c.norm_eps = keys.positive_or("layer_norm_epsilon", 1e-5);
  c.tied_embeddings = keys.flag_or("tie_word_embeddings", true);
  keys.require_flag("scale_attn_weights", true);
}

void read_shape(Keys& keys, ModelConfig& c) {
  c.d_model = keys.size("hidden_size");
  c.layers = keys.size("num_hidden_layers", kMostLayers);
  c.heads = keys.size("num_attention_heads");
  c.d_ff = keys.size("intermediate_size");
  c.context = keys.size("max_position_embeddings", kMostTokens);
  c.tied_embeddings = keys.flag_or("tie_word_embeddings", false);
}

void read_neox(Keys& keys, ModelConfig& c) {
  read_shape(keys, c);
  c.gelu = read_gelu(keys, "hidden_act", "gelu");
  c.norm_eps = keys.positive_or("layer_norm_eps", 1e-5);
  keys.require_flag("use_parallel_residual", true);
  keys.require_flag("attention_bias", true);
}

void read_llama(Keys& keys, ModelConfig& c) {
  read_shape(keys, c);
  c.kv_heads = keys.size_or("num_key_value_heads", c.heads);
  c.head_dim = keys.size_or("head_dim", 0);
  c.norm_eps = keys.positive_or("rms_norm_eps", 1e-6);
  if (keys.text_or("hidden_act", "silu") != "silu") keys.unsupported("hidden_act");
  keys.require_flag("attention_bias", false);
  keys.require_flag("mlp_bias", false);
}

void settle_heads(Keys& keys, ModelConfig& c) {
  if (!c.kv_heads) c.kv_heads = c.heads;
  if (!c.head_dim && c.d_model % c.heads != 0)
    fail_user("{}: {} heads do not divide a width of {}", keys.origin(), c.heads, c.d_model);
  if (!c.head_dim) c.head_dim = c.d_model / c.heads;
  if (c.heads % c.kv_heads != 0)
    fail_user("{}: {} query heads do not divide among {} key heads", keys.origin(), c.heads,
              c.kv_heads);
}

}  // namespace

ModelConfig read_config(std::string_view text,
                        const std::string& origin,
                        std::vector<std::string>& notes) {
  if (text.size() > kMostBytes)
    fail_format("{}: {} bytes are too many for a configuration", origin, text.size());
  const Json json = parse_json<Json>(text, origin);
  if (!json.is_object()) fail_format("{}: not a JSON object", origin);
  Keys keys(json, origin);
  ModelConfig c;
  c.arch = read_class(keys).arch;
  switch (c.arch) {
    case Arch::gpt3:
      read_gpt2(keys, c);
      break;
    case Arch::pythia:
      read_neox(keys, c);
      break;
    case Arch::llama:
      read_llama(keys, c);
      break;
  }
  c.vocabulary = keys.size("vocab_size", kMostTokens);
  c.init_std = keys.positive_or("initializer_range", c.init_std);
  settle_heads(keys, c);
  if (c.arch == Arch::pythia) read_rope(keys, "rotary_emb_base", "rotary_pct", c, notes);
  if (c.arch == Arch::llama) read_rope(keys, "rope_theta", "rotary_pct", c, notes);
  keys.finish(notes);
  return c;
}

void require_expressible(const ModelConfig& model) {
  const std::string_view name = class_of(model.arch).name;
  if (model.qk_norm) fail_user("model.qk_norm cannot be exported: {} has none", name);
  if (model.logit_softcap > 0)
    fail_user("model.logit_softcap cannot be exported: {} does not bend logits, and no factor does",
              name);
  if (is_llama(model.arch)) {
    if (model.rotary_fraction != 1)
      fail_user("model.rotary_fraction = {} cannot be exported: {} rotates whole heads",
                model.rotary_fraction, name);
    return;
  }
  if (model.kv_heads != model.heads)
    fail_user("model.kv_heads = {} cannot be exported: {} has as many as model.heads = {}",
              model.kv_heads, name, model.heads);
  if (model.heads * model.head_dim != model.d_model)
    fail_user("model.heads x model.head_dim = {} x {} must be model.d_model = {} in {}",
              model.heads, model.head_dim, model.d_model, name);
}

namespace {

Json scaling_of(const ModelConfig& model) {
  if (model.rope_scaling == "none") return nullptr;
  Json scaling = {{"rope_type", model.rope_scaling}, {"factor", model.rope_scaling_factor}};
  if (model.rope_scaling == "llama3") {
    scaling["low_freq_factor"] = 1.0;
    scaling["high_freq_factor"] = 4.0;
    scaling["original_max_position_embeddings"] = model.rope_original_context;
  } else {
    scaling["type"] = model.rope_scaling;  // what older readers look for
  }
  return scaling;
}

void put_gpt2(Json& json, const ModelConfig& model) {
  json.update(Json{{"n_embd", model.d_model},
                   {"n_layer", model.layers},
                   {"n_head", model.heads},
                   {"n_inner", model.d_ff},
                   {"n_positions", model.context},
                   {"n_ctx", model.context},  // converters ask for it
                   {"activation_function", model.gelu == "erf" ? "gelu" : "gelu_new"},
                   {"layer_norm_epsilon", model.norm_eps},
                   {"scale_attn_weights", true},
                   {"scale_attn_by_inverse_layer_idx", false},
                   {"reorder_and_upcast_attn", false},
                   {"resid_pdrop", 0.0},
                   {"embd_pdrop", 0.0},
                   {"attn_pdrop", 0.0}});
}

void put_shape(Json& json, const ModelConfig& model) {
  json.update(Json{{"hidden_size", model.d_model},
                   {"num_hidden_layers", model.layers},
                   {"num_attention_heads", model.heads},
                   {"intermediate_size", model.d_ff},
                   {"max_position_embeddings", model.context},
                   {"attention_dropout", 0.0}});
}

void put_neox(Json& json, const ModelConfig& model) {
  put_shape(json, model);
  json.update(Json{{"hidden_act", model.gelu == "erf" ? "gelu" : "gelu_new"},
                   {"hidden_dropout", 0.0},
                   {"layer_norm_eps", model.norm_eps},
                   {"rotary_pct", model.rotary_fraction},
                   {"rotary_emb_base", model.rope_base},
                   {"rope_scaling", scaling_of(model)},
                   {"use_parallel_residual", true},
                   {"attention_bias", true}});
}

void put_llama(Json& json, const ModelConfig& model) {
  put_shape(json, model);
  json.update(Json{{"num_key_value_heads", model.kv_heads},
                   {"head_dim", model.head_dim},
                   {"hidden_act", "silu"},
                   {"rms_norm_eps", model.norm_eps},
                   {"rope_theta", model.rope_base},
                   {"rope_scaling", scaling_of(model)},
                   {"attention_bias", false},
                   {"mlp_bias", false},
                   {"pretraining_tp", 1}});
}

std::string_view torch_name(DType dtype) {
  return dtype == DType::f16 ? "float16" : dtype == DType::bf16 ? "bfloat16" : "float32";
}

}  // namespace

std::string write_config(const ModelConfig& model, DType dtype, int separator) {
  const ModelClass& known = class_of(model.arch);
  Json json = {{"architectures", {known.name}},
               {"model_type", known.type},
               {"vocab_size", model.vocabulary},
               {"tie_word_embeddings", model.tied_embeddings},
               {"initializer_range", model.init_std},
               {"torch_dtype", torch_name(dtype)},
               {"use_cache", true}};
  for (const char* key : {"bos_token_id", "eos_token_id"})
    json[key] = separator >= 0 ? Json(separator) : Json();
  switch (model.arch) {
    case Arch::gpt3:
      put_gpt2(json, model);
      break;
    case Arch::pythia:
      put_neox(json, model);
      break;
    case Arch::llama:
      put_llama(json, model);
      break;
  }
  return json.dump(2) + "\n";
}

}  // namespace isoflop::hf
