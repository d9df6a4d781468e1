#include "export/model_card.hpp"

#include "tests/export/small_models.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != text.npos;
}

TEST(ModelCard, SaysWhatTheModelIsAndWhatIsNotKnown) {
  const ModelConfig model = test::small_model(Arch::llama, true, false);
  ModelCard card{.name = "small",
                 .license = "",
                 .origin = "x.gguf",
                 .parameters = 1200,
                 .model = model,
                 .type = "f16"};
  const std::string text = model_card_text(card);
  EXPECT_TRUE(has(text, "This is a base model")) << text;
  EXPECT_TRUE(has(text, "No licence was given."));
  EXPECT_TRUE(has(text, "Converted from `x.gguf`"));
  EXPECT_FALSE(has(text, "license:"));
  EXPECT_EQ(model_card_keys(card).size(), 1u);
  card.license = "cc-by-4.0";
  EXPECT_TRUE(has(model_card_text(card), "license: \"cc-by-4.0\"\n"));
  EXPECT_EQ(model_card_keys(card)[0].second, "cc-by-4.0");
}

TEST(ModelCard, TellsOfDataOrderComputeAndLosses) {
  ModelCard card{.name = "a\n# b",
                 .license = "mit",
                 .origin = "runs/a",
                 .parameters = 1000,
                 .model = test::small_model(Arch::gpt3, true, false),
                 .training = TrainingRecord()};
  TrainingRecord& t = *card.training;
  t.config.model = card.model;
  t.state.config = "layers = 2\n";
  t.state.step = 7;
  t.state.tokens = 20'000;
  t.state.recent_losses = {2, 3};
  t.data = {{"books|x.txt", 123, 45, "00ff00ff00ff00ff"}};
  t.order_hash = "0123456789abcdef";
  t.quantized = {{"q4_0", 4.5, 0.0123, 1.0234, 0.95, 4096, "feed"}};
  const std::string text = model_card_text(card);
  for (const char* part :
       {"| steps | 7 |", "| tokens per parameter | 20.00 |", "2.5000 nats",
        "| books x.txt | 45 | 123 | `00ff00ff00ff00ff` |",
        "| q4_0 | 4.50 | 0.0123 | 1.0234 | 0.9500 | 4096 | `feed` |", "0123456789abcdef",
        "validation loss | not measured", "# a # b", "layers = 2"})
    EXPECT_TRUE(has(text, part)) << part << "\n" << text;
  std::string keys;
  for (const auto& [key, value] : model_card_keys(card)) keys += key + "=" + value + "\n";
  for (const char* part : {"general.license=mit", "general.training.tokens=20000",
                           "general.training.order_hash=0123456789abcdef",
                           R"("xxh3":"00ff00ff00ff00ff")", "general.training.valid_loss=not"})
    EXPECT_TRUE(has(keys, part)) << part << "\n" << keys;
}

}  // namespace
}  // namespace isoflop
