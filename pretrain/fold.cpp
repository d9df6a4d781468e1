#include "pretrain/fold.hpp"

namespace isoflop {

double fold_factor(const ModelConfig& model, Fold fold) {
  switch (fold) {
    case Fold::none:
      return 1;
    // y = a (token + position): both tables carry a.
    case Fold::embedding:
      return model.embedding_multiplier;
    // softmax(s q.k / sqrt(hd)): scaling q, its bias included, scales the product; rotation is
    // linear.
    case Fold::attention_query:
      return model.attention_multiplier;
    // x + r (W h + b)
    case Fold::residual:
      return model.residual_multiplier;
    // Logits m W y: an own head carries m.
    case Fold::output:
      return model.output_multiplier;
    // A tied head is the embedding, which now carries a: the last norm gives m / a, gain and bias.
    case Fold::output_norm:
      return model.tied_embeddings ? model.output_multiplier / model.embedding_multiplier : 1;
  }
  return 1;
}

}  // namespace isoflop
