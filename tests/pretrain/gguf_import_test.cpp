// GGUF files made by hand, good and bad, as models of ours.
#include "pretrain/gguf_import.hpp"

#include "datasets/tokenizer/byte_text.hpp"
#include "pretrain/gguf_names.hpp"
#include "pretrain/model/architecture.hpp"
#include "tests/support/shared_data.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

namespace isoflop {
namespace {

ModelConfig small(Arch arch) {
  ModelConfig c;
  c.arch = arch;
  c.layers = 1;
  c.d_model = 32;
  c.heads = 4;
  c.kv_heads = arch == Arch::llama ? 2 : 4;
  c.head_dim = 8;
  c.d_ff = 256;
  c.context = 8;
  c.vocabulary = 260;
  c.norm_eps = 1e-6;
  return c;
}

/// What a test changes about a good file.
struct Changes {
  std::function<void(GgufWriter&)> more_keys = [](GgufWriter&) {};
  std::string skip_key = "", skip_tensor = "", extra_tensor = "";
  std::string tokenizer = "gpt2", splitting = "gpt-2";
  BlockType matrices = BlockType::f32;
  uint32_t layers = 1;
  uint32_t end_of_text = 0;
};

class GgufImport : public ::testing::Test {
 protected:
  fs::path write(Arch arch, const Changes& changes = {}) {
    const ModelConfig c = small(arch);
    const gguf::ModelKeys keys(arch);
    const fs::path path = folder_.path() / "m.gguf";
    GgufWriter writer(path);
    const auto u32 = [&](std::string_view key, int64_t value) {
      if (key != changes.skip_key) writer.put_u32(key, static_cast<uint32_t>(value));
    };
    writer.put_text(gguf::kArchitecture, keys.architecture);
    u32(keys.context_length, c.context);
    u32(keys.embedding_length, c.d_model);
    u32(keys.block_count, changes.layers);
    u32(keys.feed_forward_length, c.d_ff);
    u32(keys.head_count, c.heads);
    u32(keys.head_count_kv, c.kv_heads);
    writer.put_f32(keys.norm_epsilon, 1e-6f);
    writer.put_text(gguf::kTokenizerModel, changes.tokenizer);
    if (!changes.splitting.empty()) writer.put_text(gguf::kSplitting, changes.splitting);
    std::vector<std::string> texts = {"<|end|>"};
    for (int byte = 0; byte < 256; ++byte)
      texts.push_back(to_printable(std::string(1, static_cast<char>(byte))));
    texts.insert(texts.end(), {"ab", "[PAD0]", "[PAD1]"});
    std::vector<int32_t> types(260, gguf::kNormalToken);
    types[0] = gguf::kControlToken;
    types[258] = types[259] = gguf::kUnusedToken;
    writer.put_texts(gguf::kTokens, texts);
    writer.put_i32s(gguf::kTokenTypes, types);
    writer.put_texts(gguf::kMerges, {"a b"});
    u32(gguf::kEosId, changes.end_of_text);
    changes.more_keys(writer);
    write_tensors(writer, make_param_table(c), changes);
    writer.finish();
    return path;
  }

  static void write_tensors(GgufWriter& writer, const ParamTable& table, const Changes& changes) {
    std::vector<std::pair<std::string, size_t>> tensors;
    const auto add = [&](const std::string& name, std::vector<int64_t> dims) {
      const BlockType type = dims.size() == 1 ? BlockType::f32 : changes.matrices;
      const bool fits = block_codec(type).fits(dims[0]);
      writer.add_tensor(name, dims, fits ? type : BlockType::f32);
      int64_t count = 1;
      for (const int64_t dim : dims) count *= dim;
      const int64_t bytes = block_codec(fits ? type : BlockType::f32).bytes_for(count);
      tensors.emplace_back(name, static_cast<size_t>(bytes));
    };
    for (const ParamSpec& spec : table)
      for (const ForeignName& foreign : spec.gguf)
        if (foreign.name != changes.skip_tensor)
          add(foreign.name,
              spec.is_vector() ? std::vector{spec.cols} : std::vector{spec.cols, spec.rows});
    if (!changes.extra_tensor.empty()) add(changes.extra_tensor, {32});
    for (const auto& [name, bytes] : tensors)
      writer.write(name, std::vector<std::byte>(bytes, static_cast<std::byte>(name.size())));
  }

  std::string error_of(const fs::path& path, bool tokenizer = false) {
    try {
      const GgufModel model(path);
      if (tokenizer) model.tokenizer();
      return "no error";
    } catch (const UserError& e) {
      return e.what();
    }
  }
  void expect_error(Arch arch, const Changes& changes, const std::string& part) {
    const std::string error = error_of(write(arch, changes), true);
    EXPECT_NE(error.find(part), error.npos) << error;
    EXPECT_NE(error.find("m.gguf"), error.npos) << error;
  }

  test::TempDir folder_;
};

TEST_F(GgufImport, ReadsConfigurationAndTokenizer) {
  for (const Arch arch : {Arch::gpt3, Arch::llama}) {
    const GgufModel model(write(arch));
    const ModelConfig expected = small(arch);
    const ModelConfig& c = model.config();
    EXPECT_EQ(c.arch, arch);
    EXPECT_EQ(c.layers, 1);
    EXPECT_EQ(c.kv_heads, expected.kv_heads);
    EXPECT_EQ(c.head_dim, 8);
    EXPECT_EQ(c.d_ff, 256);
    EXPECT_EQ(c.vocabulary, 260);
    EXPECT_EQ(c.norm_eps, 1e-6);  // not the float nearest to it
    EXPECT_TRUE(c.tied_embeddings);
    EXPECT_EQ(model.name(), "");
    EXPECT_TRUE(model.notes().empty());
    const auto tokenizer = model.tokenizer();
    EXPECT_EQ(tokenizer->vocabulary(), 258);  // without the padding
    EXPECT_EQ(tokenizer->separator(), 0);
    std::vector<int32_t> ids;
    tokenizer->encode("abc", ids);
    EXPECT_EQ(ids, (std::vector<int32_t>{257, 1 + 'c'}));
  }
}

TEST_F(GgufImport, ReadsEveryBlockType) {
  for (const BlockCodec& codec : block_codecs()) {
    if (!codec.dequantize) continue;
    Changes changes;
    changes.matrices = codec.type;
    const GgufModel model(write(Arch::llama, changes));
    const ParamTable table = make_param_table(model.config());
    ParamBuffer parameters(table, DType::f32, "test");
    ThreadTeam team(2);
    model.read_parameters(table, parameters, team);
    const auto at =
        static_cast<size_t>(find_param(table, "blocks.0.mlp.down.weight"));  // rows of 256
    const GgufTensor& tensor = *model.file().find_tensor("blk.0.ffn_down.weight");
    EXPECT_EQ(tensor.codec, &codec);
    std::vector<float> expected(static_cast<size_t>(table[at].size()));
    codec.dequantize(tensor.data.data(), table[at].size(), expected.data());
    EXPECT_EQ(std::memcmp(parameters[at].data, expected.data(), parameters[at].bytes()), 0)
        << codec.name;
  }
}

TEST_F(GgufImport, RefusesWhatIsMissingOrTooMuch) {
  expect_error(Arch::gpt3, {.skip_key = "gpt2.block_count"}, "gpt2.block_count is missing");
  expect_error(Arch::gpt3, {.skip_tensor = "blk.0.ffn_up.bias"}, "blk.0.ffn_up.bias is missing");
  expect_error(Arch::gpt3, {.skip_tensor = "token_embd.weight"}, "token_embd.weight is missing");
  expect_error(Arch::llama, {.extra_tensor = "blk.0.attn_q.bias"},
               "blk.0.attn_q.bias has no place");
  expect_error(Arch::llama, {.layers = 2}, "blk.1.ffn_down.weight is missing");
  expect_error(Arch::llama, {.layers = 513}, "block_count is 513, not within 1 to 512");
  expect_error(Arch::llama, {.layers = 0}, "block_count is 0");
  Changes unreadable;
  unreadable.matrices = BlockType::q2_k;
  expect_error(Arch::llama, unreadable, "type Q2_K, which is not supported");
}

TEST_F(GgufImport, RefusesWhatOurModelsCannotCompute) {
  const auto with = [](std::function<void(GgufWriter&)> keys) {
    Changes changes;
    changes.more_keys = std::move(keys);
    return changes;
  };
  expect_error(Arch::llama, with([](auto& w) { w.put_text("llama.rope.scaling.type", "yarn"); }),
               "rotary scaling \"yarn\"");
  expect_error(Arch::llama, with([](auto& w) { w.put_u32("llama.rope.dimension_count", 4); }),
               "4 of 8 entries of a head cannot be rotated");
  expect_error(Arch::llama, with([](auto& w) { w.put_u32("llama.expert_count", 8); }), "experts");
  expect_error(Arch::llama, with([](auto& w) { w.put_u32("llama.attention.key_length", 16); }),
               "value_length must be");
  expect_error(Arch::llama, with([](auto& w) { w.put_f32("llama.rope.freq_base", -1); }),
               "not a positive number");
  const GgufModel start(write(
      Arch::llama, with([](auto& w) { w.put_boolean("tokenizer.ggml.add_bos_token", true); })));
  EXPECT_EQ(start.notes().size(), 1u);
}

TEST_F(GgufImport, RefusesOtherTokenizersByName) {
  expect_error(Arch::llama, {.tokenizer = "t5"}, "tokenizer \"t5\" is not supported");
  expect_error(Arch::llama, {.splitting = "gpt-neox"}, "splitting rule \"gpt-neox\"");
  EXPECT_EQ(error_of(write(Arch::llama, {.splitting = "olmo"}), true), "no error");
  EXPECT_EQ(error_of(write(Arch::gpt3, {.splitting = ""}), true), "no error");
  // The configuration and the weights can be read all the same.
  EXPECT_EQ(error_of(write(Arch::llama, {.tokenizer = "t5"})), "no error");
  // An ordinary token as end of text is not a separator.
  Changes ordinary;
  ordinary.end_of_text = 11;
  EXPECT_EQ(GgufModel(write(Arch::gpt3, ordinary)).tokenizer()->separator(), 0);
}

TEST_F(GgufImport, RefusesAVocabularyFileAndDamagedFiles) {
  const auto vocabulary = test::shared_data("ref/llama.cpp/ggml-vocab-gpt-2.gguf");
  if (vocabulary) {
    const std::string error = error_of(*vocabulary);
    EXPECT_NE(error.find("token_embd.weight is missing"), error.npos) << error;
  }
  const fs::path path = write(Arch::gpt3);
  fs::resize_file(path, fs::file_size(path) - 200);
  const std::string error = error_of(path);
  EXPECT_NE(error.find("ends at byte"), error.npos) << error;
  EXPECT_NE(error_of(folder_.path() / "absent.gguf").find("absent.gguf"), std::string::npos);
}

}  // namespace
}  // namespace isoflop
