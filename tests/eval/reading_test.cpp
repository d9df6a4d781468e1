// Read a block at a time, a model says what it says read whole, bit for bit, and never has more of
// its parameters in memory than a block and a table of embeddings.
#include "eval/reading.hpp"

#include "ops/reference/backend.hpp"
#include "tests/eval/small_model.hpp"

#include <gtest/gtest.h>

#include <cstring>

namespace isoflop {
namespace {

/// A random model in memory, which notes the most that was asked of it at once.
class InMemory : public ModelSource {
 public:
  explicit InMemory(const ModelConfig& c)
      : config_(c), table_(make_param_table(c)), values_(table_, DType::f32, "test") {
    initialize_parameters(table_, 5, values_);
  }
  const ModelConfig& config() const override { return config_; }
  void read_parameters(const ParamTable& table, ParamBuffer& to, ThreadTeam&) const override {
    most_bytes = std::max(most_bytes, to.bytes());
    for (size_t i = 0; i < table.size(); ++i)
      if (to[i]) std::memcpy(to[i].data, values_[i].data, to[i].bytes());
  }
  std::unique_ptr<Tokenizer> tokenizer() const override { return nullptr; }
  const std::string& origin() const override { return origin_; }
  const std::vector<std::string>& notes() const override { return notes_; }

  const ParamTable& table() const { return table_; }
  const ParamBuffer& values() const { return values_; }
  mutable size_t most_bytes = 0;

 private:
  ModelConfig config_;
  ParamTable table_;
  ParamBuffer values_;
  std::string origin_ = "memory";
  std::vector<std::string> notes_;
};

std::vector<Window> windows_of(std::initializer_list<int64_t> lengths) {
  std::vector<Window> windows;
  int32_t id = 0;
  for (const int64_t length : lengths) {
    Window& window = windows.emplace_back();
    for (int64_t i = 0; i <= length; ++i) window.push_back(id = (id * 37 + 11) % 259);
  }
  return windows;
}

void expect_logits_of_the_whole_model(const ModelConfig& config) {
  const InMemory source(config);
  ReferenceBackend<float> backend;
  ThreadTeam team(2);
  const std::vector<Window> windows = windows_of({7, 40, 1});
  Reading reading(source, windows, backend, team);
  Model whole(config, source.table(), source.values(), backend, {.tokens = 40, .training = false});
  for (size_t w : {1, 0, 2}) {  // in any order
    const int64_t length = static_cast<int64_t>(windows[w].size()) - 1;
    whole.read({1, length, std::span(windows[w]).first(windows[w].size() - 1), {}});
    const View wanted = whole.logits(0, length), found = reading.logits(w, 0, length);
    ASSERT_EQ(wanted.bytes(), found.bytes());
    EXPECT_EQ(std::memcmp(wanted.data, found.data, found.bytes()), 0) << w;
  }
}

ModelConfig small(Arch arch, int64_t layers, bool tied) {
  ModelConfig config = test::small_config();
  config.arch = arch;
  config.layers = layers;
  config.tied_embeddings = tied;
  config.kv_heads = is_llama(arch) ? 2 : 4;
  config.rotary_fraction = has_rope(arch) ? 1 : 0;
  config.output_multiplier = 0.5;
  return config;
}

TEST(Reading, LogitsAreThoseOfTheWholeModel) {
  for (const Arch arch : {Arch::gpt3, Arch::pythia, Arch::llama})
    for (const int64_t layers : {1, 3})
      for (const bool tied : {false, true}) {
        SCOPED_TRACE(testing::Message() << name_of(arch) << " " << layers << " tied " << tied);
        expect_logits_of_the_whole_model(small(arch, layers, tied));
      }
}

TEST(Reading, AttentionStaysWithinDocumentsInEveryBlock) {
  ModelConfig config = small(Arch::llama, 3, true);
  config.document_mask = true;
  config.separator = 11;  // the second token
  expect_logits_of_the_whole_model(config);
}

TEST(Reading, HoldsABlockAtATime) {
  const ModelConfig config = small(Arch::llama, 12, true);
  const InMemory source(config);
  ReferenceBackend<float> backend;
  ThreadTeam team(1);
  const std::vector<Window> windows = windows_of({5});
  Reading reading(source, windows, backend, team);
  size_t embedding_and_block = 0;
  for (const ParamSpec& spec : source.table())
    if (spec.stage_block <= 0) embedding_and_block += static_cast<size_t>(spec.size()) * 4;
  EXPECT_LE(source.most_bytes, embedding_and_block);
  EXPECT_LT(source.most_bytes * 3, source.values().bytes()) << "the bound above is one";
}

}  // namespace
}  // namespace isoflop
