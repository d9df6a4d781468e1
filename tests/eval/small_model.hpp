// A random model of a few thousand parameters over bytes, ready to write, and its tokenizer.
#pragma once
#include "datasets/tokenizer/trainer.hpp"
#include "eval/session.hpp"
#include "ops/reference/backend.hpp"
#include "pretrain/model/model.hpp"

namespace isoflop::test {

/// <|endoftext|>, <|im_start|>, <|im_end|>, then the 256 bytes.
inline std::unique_ptr<Tokenizer> byte_tokenizer() {
  return TokenizerTrainer({.kind = Tokenizer::Kind::bytes,
                           .special_tokens = {{"<|endoftext|>", "<|im_start|>", "<|im_end|>"}}})
      .finish();
}

inline ModelConfig small_config() {
  ModelConfig c;
  c.arch = Arch::llama;
  c.layers = 2;
  c.d_model = 32;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 8;
  c.rotary_fraction = 1;
  c.d_ff = 64;
  c.context = 64;
  c.vocabulary = 259;
  c.tied_embeddings = true;
  c.init_std = 0.2;  // large, so that the context shows in the logits
  return c;
}

struct SmallModel {
  explicit SmallModel(const ModelConfig& c = small_config(), int64_t piece = 5)
      : config(c),
        table(make_param_table(config)),
        parameters(table, DType::f32, "test"),
        model(config,
              table,
              filled(),
              backend,
              {.tokens = piece, .recompute = Recompute::none, .training = false}),
        session(model, backend) {}

  ReferenceBackend<float> backend;
  ModelConfig config;
  ParamTable table;
  ParamBuffer parameters;
  Model model;
  Session session;

 private:
  const ParamBuffer& filled() {
    initialize_parameters(table, 5, parameters);
    return parameters;
  }
};

}  // namespace isoflop::test
