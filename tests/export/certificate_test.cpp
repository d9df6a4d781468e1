// A certificate holds for a file that is the model, and for nothing else.
#include "export/certificate.hpp"

#include "export/gguf_export.hpp"
#include "export/runtimes.hpp"
#include "formats/gguf.hpp"
#include "ops/reference/backend.hpp"
#include "tests/export/tokenizers.hpp"
#include "tests/support/folder_test.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <cstring>
#include <limits>

namespace isoflop {
namespace {

class Certified : public FolderTest {
 protected:
  void SetUp() override {
    config.arch = Arch::llama;
    config.layers = 2;
    config.d_model = 32;
    config.heads = 4;
    config.kv_heads = 2;
    config.head_dim = 8;
    config.rotary_fraction = 1;
    config.d_ff = 64;
    config.context = 16;
    config.vocabulary = 264;
    config.init_std = 0.2;
    table = make_param_table(config);
    parameters = ParamBuffer(table, DType::f32, "test");
    initialize_parameters(table, 5, parameters);
    write_model("source.gguf", "f32");
  }
  void write_model(const std::string& name, const std::string& type) const {
    ThreadTeam team(2);
    export_gguf({config, table, parameters, *byte_level_tokenizer(), type, "small"}, path(name),
                team);
  }
  Certificate certificate_of(const std::string& name) const {
    const auto backend = make_reference_backend(DType::f32);
    ThreadTeam team(2);
    return certify({.file = path(name), .source = path("source.gguf"), .text = {}, .tokens = 100},
                   *backend, team);
  }
  float* parameter(const std::string& name) {
    return parameters[static_cast<size_t>(find_param(table, name))].as<float>();
  }

  ModelConfig config;
  ParamTable table;
  ParamBuffer parameters;
};

TEST_F(Certified, TheModelItself) {
  write_model("file.gguf", "f32");
  const Certificate certificate = certificate_of("file.gguf");
  EXPECT_TRUE(certificate.pass()) << certificate.failures.front();
  EXPECT_EQ(certificate.weights.mean_kl, 0);
  EXPECT_EQ(certificate.weights.max_logit_difference, 0);
  EXPECT_EQ(certificate.weights.same_top, certificate.weights.tokens);
  EXPECT_EQ(certificate.weights.tokens, 96) << "windows of 16 within 100 tokens that it wrote";
  EXPECT_FALSE(certificate.runtime) << "F32 files are not computed in 8 bits";
  EXPECT_GT(certificate.tokenizer.texts, 50);
}

TEST_F(Certified, AQuantizedFileIsFartherTheFewerBitsItHas) {
  double last = 0;
  for (const char* type : {"f16", "q8_0", "q4_0"}) {
    write_model("file.gguf", type);
    const Certificate certificate = certificate_of("file.gguf");
    EXPECT_GT(certificate.weights.mean_kl, last) << type;
    EXPECT_GE(certificate.weights.p99_kl, certificate.weights.mean_kl);
    last = certificate.weights.mean_kl;
  }
}

TEST_F(Certified, OneWrongWeightIsFound) {
  parameter("norm.weight")[3] += 0.25f;
  write_model("file.gguf", "f32");
  const Certificate certificate = certificate_of("file.gguf");
  EXPECT_FALSE(certificate.pass());
  EXPECT_GT(certificate.weights.max_logit_difference, 1e-3);
}

TEST_F(Certified, NotANumberFailsEveryLimit) {
  write_model("file.gguf", "f32");
  const GgufFile file(path("file.gguf"));
  const GgufTensor* norm = file.find_tensor("output_norm.weight");
  ASSERT_NE(norm, nullptr);
  const std::string content = read_file(path("file.gguf"));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float one = 1;
  // Norm gains start as ones; the first run of 32 of them that is followed by no other tensor's is
  // found by the record's own place: compare against the mapped bytes.
  size_t at = 0;
  for (; at + norm->data.size() <= content.size(); at += 32)
    if (std::memcmp(content.data() + at, norm->data.data(), norm->data.size()) == 0 &&
        std::memcmp(content.data() + at, &one, 4) == 0)
      break;
  std::string damaged = content;
  std::memcpy(damaged.data() + at, &nan, 4);
  write("damaged.gguf", damaged);
  const Certificate certificate = certificate_of("damaged.gguf");
  EXPECT_FALSE(certificate.pass());
  EXPECT_TRUE(std::isnan(certificate.weights.mean_kl));
  EXPECT_NO_THROW(to_json(certificate).dump());
}

TEST_F(Certified, AnotherShapeIsRefused) {
  config.layers = 1;
  table = make_param_table(config);
  parameters = ParamBuffer(table, DType::f32, "test");
  initialize_parameters(table, 5, parameters);
  write_model("file.gguf", "f32");
  EXPECT_THROW(certificate_of("file.gguf"), UserError);
}

TEST_F(Certified, NoiseExcusesOnlyCloseCalls) {
  write_model("file.gguf", "q4_0");
  const auto backend = make_reference_backend(DType::f32);
  ThreadTeam team(1);
  const auto source = open_model(path("source.gguf")), file = open_model(path("file.gguf"));
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 161; ++i) ids.push_back((i * 37 + 11) % 256);
  const auto windows =
      spread_windows(ids.size(), 16, 160, [&](uint64_t first, std::span<int32_t> out) {
        std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(first), out.size(), out.begin());
      });
  Reading wanted(*source, windows, *backend, team), found(*file, windows, *backend, team);
  const Comparison strict = compare_models(wanted, found, 0, team);
  const Comparison lenient = compare_models(wanted, found, 1e9, team);
  ASSERT_LT(strict.same_top, strict.tokens) << "4 bits change some argmax of a random model";
  EXPECT_EQ(strict.excused, 0);
  EXPECT_EQ(lenient.unexcused(), 0);
}

TEST(Certificates, WindowsAreSpreadOverTheText) {
  const auto read = [](uint64_t first, std::span<int32_t> out) {
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<int32_t>(first + i);
  };
  const auto windows = spread_windows(1001, 10, 50, read);
  ASSERT_EQ(windows.size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_EQ(windows[i].size(), 11u);
    EXPECT_EQ(windows[i][0], static_cast<int32_t>(200 * i));
  }
  EXPECT_EQ(spread_windows(8, 10, 50, read).size(), 1u) << "a text shorter than the context";
  EXPECT_TRUE(spread_windows(1, 10, 50, read).empty());
}

TEST_F(Certified, RulesOfProgramsAreChecked) {
  write_model("file.gguf", "q4_0");
  const GgufFile file(path("file.gguf"));
  for (const char* name : {"llama.cpp", "ollama", "gpt4all"})
    EXPECT_TRUE(find_runtime(name).check(file).problems.empty()) << name;
  EXPECT_TRUE(is_base_model(file));
  EXPECT_NE(modelfile(path("file.gguf"), file).find("FROM ./file.gguf\nPARAMETER num_ctx 16\n"),
            std::string::npos);
  EXPECT_THROW(find_runtime("emacs"), UserError);
}

TEST_F(Certified, AnArchitectureOutsideGpt4AllsListIsAProblem) {
  GgufWriter writer(path("granite.gguf"));
  writer.put_text("general.architecture", "granite");
  writer.put_u32("granite.block_count", 1);
  writer.put_text("tokenizer.ggml.model", "gpt2");
  writer.put_texts("tokenizer.ggml.tokens", {"a", "a"});
  writer.add_tensor("norm", {4}, BlockType::f16);
  const std::vector<std::byte> zeros(8);
  writer.write("norm", zeros);
  writer.finish();
  const GgufFile file(path("granite.gguf"));
  std::string all;
  for (const std::string& problem : find_runtime("gpt4all").check(file).problems)
    all += problem + "\n";
  for (const char* what : {"granite", "vector in F16", "one text", "bos_token_id", "eos_token_id"})
    EXPECT_NE(all.find(what), std::string::npos) << what << " in " << all;
}

// Met with gpt4all 2.8.2: "tensor 'output.weight' not found", "unknown pre-tokenizer type:
// 'smollm'".
TEST_F(Certified, WhatGpt4AllsOldLibraryDoesNotLoadIsAProblem) {
  for (const bool own_head : {false, true}) {
    GgufWriter writer(path("gpt2.gguf"));
    writer.put_text("general.architecture", "gpt2");
    writer.put_u32("gpt2.block_count", 1);
    writer.put_u32("gpt2.context_length", 8);
    writer.put_text("tokenizer.ggml.model", "gpt2");
    writer.put_text("tokenizer.ggml.pre", own_head ? "gpt-2" : "smollm");
    writer.put_texts("tokenizer.ggml.tokens", {"a", "b"});
    writer.put_u32("tokenizer.ggml.bos_token_id", 0);
    writer.put_u32("tokenizer.ggml.eos_token_id", 0);
    const char* const tensor = own_head ? "output.weight" : "other.weight";
    writer.add_tensor(tensor, {4, 2}, BlockType::f32);
    writer.write(tensor, std::vector<std::byte>(32));
    writer.finish();
    const GgufFile file(path("gpt2.gguf"));
    std::string all;
    for (const std::string& problem : find_runtime("gpt4all").check(file).problems)
      all += problem + "\n";
    for (const char* what : {"output.weight", "smollm"})
      EXPECT_EQ(all.find(what) != std::string::npos, !own_head) << what << " in " << all;
    EXPECT_TRUE(find_runtime("llama.cpp").check(file).problems.empty());
    std::filesystem::remove(path("gpt2.gguf"));
  }
}

}  // namespace
}  // namespace isoflop
