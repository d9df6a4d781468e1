// What several tokenizer tests need: encoding in one expression, deterministic bytes, a small
// tokenizer.
#pragma once
#include "core/rng.hpp"
#include "datasets/tokenizer.hpp"
#include "datasets/tokenizer/trainer.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop::test {

using Ids = std::vector<int32_t>;

enum class Specials { plain, found };

inline Ids encode(const Tokenizer& tokenizer,
                  std::string_view text,
                  Specials specials = Specials::plain) {
  Ids ids;
  tokenizer.encode(text, ids, specials == Specials::found);
  return ids;
}

inline std::unique_ptr<Tokenizer> train(const TokenizerTraining& training, std::string_view text) {
  TokenizerTrainer trainer(training);
  trainer.add(text);
  return trainer.finish();
}

/// Bytes 0 to `range`-1, uniformly.
inline std::string random_bytes(uint64_t stream, size_t size, int range = 256) {
  std::string bytes;
  for (size_t i = 0; i < size; ++i)
    bytes.push_back(static_cast<char>(static_cast<int>(uniform01(1, stream, i) * range)));
  return bytes;
}

/// Text with what splitting rules care about: letters, digits, contractions, runs of space,
/// scripts.
inline std::string mixed_text() {
  std::string text;
  for (int i = 0; i < 40; ++i)
    text +=
        "It's the 3rd time they've said: \"caf\u00e9 \u4f60\u597d, \u043f\u0440\u0438\u0432\u0435"
        "\u0442\"!\n\n  The other   theorem thereof\t(1,234.56) isn't in the text.\r\n \u00a0 end ";
  return text;
}

}  // namespace isoflop::test
