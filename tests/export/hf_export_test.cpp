// A model written as a Hugging Face folder and read back is the same model, multipliers folded
// away; and what is refused, both ways. That transformers agrees is shown by
// bench/peers/hf_check.py.
#include "export/hf_export.hpp"

#include "core/error.hpp"
#include "datasets/tokenizer/sentencepiece_file.hpp"
#include "export/verify.hpp"
#include "pretrain/hf_import.hpp"
#include "pretrain/model_source.hpp"
#include "tests/export/small_models.hpp"
#include "tests/support/folder_test.hpp"

#include <nlohmann/json.hpp>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>

namespace isoflop {
namespace {

using test::small_model;
using test::SmallModel;
using test::token_losses;
using Json = nlohmann::ordered_json;

/// A folder's model in memory.
struct Loaded {
  HfModel model;
  ParamTable table = make_param_table(model.config());
  ParamBuffer parameters{table, DType::f32, "test"};

  explicit Loaded(const fs::path& folder) : model(folder) {
    ThreadTeam team(2);
    model.read_parameters(table, parameters, team);
  }
  std::vector<float> losses() const { return token_losses(model.config(), table, parameters); }
};

HfReport write_folder(const ModelConfig& config,
                      const ParamTable& table,
                      const ParamBuffer& parameters,
                      const Tokenizer* tokenizer,
                      const fs::path& out,
                      DType dtype = DType::f32,
                      uint64_t shard_bytes = 1 << 30,
                      bool replace = false) {
  ThreadTeam team(2);
  return export_hf({.model = config,
                    .table = table,
                    .parameters = parameters,
                    .tokenizer = tokenizer,
                    .dtype = dtype,
                    .shard_bytes = shard_bytes},
                   out, replace, team);
}

HfReport write_folder(const SmallModel& source, const fs::path& out, DType dtype = DType::f32) {
  return write_folder(source.config, source.table, source.parameters, source.tokenizer.get(), out,
                      dtype);
}

/// Adds 1 to the first value of an F32 tensor where it lies in the file.
void damage(const fs::path& file, const std::string& tensor) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  uint64_t header_bytes = 0;
  stream.read(reinterpret_cast<char*>(&header_bytes), sizeof(header_bytes));
  std::string header(header_bytes, ' ');
  stream.read(header.data(), static_cast<std::streamsize>(header_bytes));
  const auto at = static_cast<std::streamoff>(
      sizeof(header_bytes) + header_bytes +
      Json::parse(header).at(tensor).at("data_offsets").at(0).get<uint64_t>());
  float value = 0;
  stream.seekg(at);
  stream.read(reinterpret_cast<char*>(&value), sizeof(value));
  value += 1;
  stream.seekp(at);
  stream.write(reinterpret_cast<const char*>(&value), sizeof(value));
  ASSERT_TRUE(stream.good()) << file << " " << tensor;
}

struct Case {
  Arch arch;
  bool tied;
};
class EveryModelToHf : public ::testing::TestWithParam<Case> {
 protected:
  SmallModel source(bool multipliers) const {
    return SmallModel(small_model(GetParam().arch, GetParam().tied, multipliers));
  }
  fs::path path(const char* name) const { return folder_.path() / name; }
  test::TempDir folder_;
};

INSTANTIATE_TEST_SUITE_P(Models,
                         EveryModelToHf,
                         ::testing::Values(Case{Arch::gpt3, true},
                                           Case{Arch::gpt3, false},
                                           Case{Arch::pythia, true},
                                           Case{Arch::pythia, false},
                                           Case{Arch::llama, true},
                                           Case{Arch::llama, false}),
                         [](const auto& param_info) {
                           return std::string(name_of(param_info.param.arch)) +
                                  (param_info.param.tied ? "Tied" : "Untied");
                         });

TEST_P(EveryModelToHf, F32WithoutMultipliersIsTheSameParameters) {
  const SmallModel from = source(false);
  write_folder(from, path("hf"));
  const Loaded read(path("hf"));
  const ModelConfig &c = read.model.config(), &was = from.config;
  EXPECT_TRUE(read.model.notes().empty()) << read.model.notes()[0];
  EXPECT_EQ(c.arch, was.arch);
  EXPECT_EQ(c.context, was.context);
  EXPECT_EQ(c.kv_heads, was.kv_heads);
  EXPECT_EQ(c.gelu, was.gelu);
  EXPECT_EQ(c.norm_eps, was.norm_eps);
  EXPECT_EQ(c.rotary_fraction, was.rotary_fraction);
  EXPECT_EQ(c.tied_embeddings, was.tied_embeddings);
  EXPECT_EQ(read.model.tokenizer()->to_json(), from.tokenizer->to_json());
  ASSERT_EQ(read.table.size(), from.table.size());
  for (size_t i = 0; i < read.table.size(); ++i)
    EXPECT_EQ(
        std::memcmp(read.parameters[i].data, from.parameters[i].data, from.parameters[i].bytes()),
        0)
        << read.table[i].name;
}

// Two F32 forward passes whose products are scaled at different places: losses of about 6 to 1e-5.
TEST_P(EveryModelToHf, MultipliersFoldAway) {
  const SmallModel from = source(true);
  write_folder(from, path("hf"));
  const auto expected = token_losses(from.config, from.table, from.parameters);
  const auto folded = Loaded(path("hf")).losses();
  ModelConfig plain = from.config;
  plain.embedding_multiplier = plain.residual_multiplier = 1;
  plain.output_multiplier = plain.attention_multiplier = 1;
  const auto unfolded = token_losses(plain, from.table, from.parameters);
  double difference = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(folded[i], expected[i], 1e-4) << i;
    difference += std::fabs(unfolded[i] - expected[i]) / static_cast<double>(expected.size());
  }
  EXPECT_GT(difference, 0.1);  // else this test shows nothing
}

TEST_P(EveryModelToHf, RoundTripIsByteForByteTheSameFolder) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16}) {
    write_folder(source(true), path("first"), dtype);
    const Loaded read(path("first"));
    write_folder(read.model.config(), read.table, read.parameters, read.model.tokenizer().get(),
                 path("second"), dtype);
    for (const char* name : {"model.safetensors", "config.json", "generation_config.json",
                             "tokenizer.json", "tokenizer_config.json"})
      EXPECT_EQ(read_file(path("first") / name), read_file(path("second") / name)) << name;
    fs::remove_all(path("first"));
    fs::remove_all(path("second"));
  }
}

// What export --hf --verify does after it has read the folder again.
TEST_P(EveryModelToHf, ADamagedFolderIsNamedByItsFirstActivationThatDiffers) {
  const SmallModel from = source(false);
  write_folder(from, path("hf"));
  const auto backend = make_reference_backend(DType::f32);
  const ModelTrace whole = trace_model(from.config, from.table, from.parameters, *backend, 12);
  const auto compare = [&] {
    const Loaded read(path("hf"));
    return compare_traces(
        whole, trace_model(read.model.config(), read.table, read.parameters, *backend, 12),
        from.config, trace_tolerance(DType::f32));
  };
  EXPECT_EQ(compare().first, "");
  const char* const tensor = GetParam().arch == Arch::gpt3 ? "transformer.h.1.attn.c_attn.weight"
                             : GetParam().arch == Arch::pythia
                                 ? "gpt_neox.layers.1.attention.query_key_value.weight"
                                 : "model.layers.1.self_attn.q_proj.weight";
  damage(path("hf") / "model.safetensors", tensor);
  EXPECT_EQ(compare().first, "blocks.1.qkv");
}

TEST_P(EveryModelToHf, ShardsAreTheSameModel) {
  const SmallModel from = source(false);
  const HfReport report = write_folder(from.config, from.table, from.parameters, nullptr,
                                       path("hf"), DType::f32, 20'000);
  EXPECT_GT(report.files, 2u);
  EXPECT_FALSE(fs::exists(path("hf") / "model.safetensors"));
  const Loaded read(path("hf"));
  EXPECT_EQ(read.model.tensors().files().size(), report.files);
  EXPECT_EQ(read.model.tokenizer(), nullptr);
  EXPECT_EQ(read.losses(), token_losses(from.config, from.table, from.parameters));
}

TEST_P(EveryModelToHf, AbsentBiasesAreWrittenAsZeros) {
  ModelConfig config = small_model(GetParam().arch, GetParam().tied, true);
  config.biases = false;
  const SmallModel from(config);
  write_folder(from, path("hf"));
  const auto expected = token_losses(from.config, from.table, from.parameters);
  const auto read = Loaded(path("hf")).losses();
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(read[i], expected[i], 1e-4) << i;
}

TEST_P(EveryModelToHf, RotaryScalingTravels) {
  for (const std::string kind : {"linear", "llama3"}) {
    ModelConfig config = small_model(GetParam().arch, GetParam().tied, false);
    if (!has_rope(config.arch)) GTEST_SKIP() << "no rotation in " << name_of(config.arch);
    config.rope_scaling = kind;
    config.rope_scaling_factor = 8;
    if (kind == "llama3") config.rope_original_context = 512;
    const SmallModel from(config);
    write_folder(from, path("hf"));
    const Loaded read(path("hf"));
    EXPECT_EQ(read.model.config().rope_scaling, kind);
    EXPECT_EQ(read.model.config().rope_scaling_factor, 8);
    EXPECT_EQ(read.model.config().rope_original_context, config.rope_original_context);
    EXPECT_EQ(read.losses(), token_losses(config, from.table, from.parameters));
    fs::remove_all(path("hf"));
  }
}

class HfFolder : public FolderTest {
 protected:
  fs::path hf() const { return path("hf"); }
  /// A good folder of that architecture, its config.json changed.
  void make(Arch arch, const std::function<void(Json&)>& change = {}, bool tied = false) const {
    fs::remove_all(hf());
    write_folder(SmallModel(small_model(arch, tied, false)), hf());
    Json config = Json::parse(read_file(hf() / "config.json"));
    if (change) change(config);
    write("hf/config.json", config.dump());
  }
  /// The tensors again, under other names ("": left out), and with more.
  void rename_tensors(const std::function<std::string(const std::string&)>& name,
                      const std::string& copy_of = "",
                      const std::string& copy = "") const {
    const std::string old = read_file(hf() / "model.safetensors");
    const SafetensorsFile file(std::as_bytes(std::span(old.data(), old.size())), "old");
    std::vector<SafetensorsRecord> records;
    std::vector<const SafetensorsTensor*> tensors;
    for (const SafetensorsTensor& tensor : file.tensors())
      if (!name(tensor.name).empty()) {
        records.push_back({name(tensor.name), tensor.shape});
        tensors.push_back(&tensor);
      }
    if (!copy.empty()) {
      tensors.push_back(file.find(copy_of));
      records.push_back({copy, tensors.back()->shape});
    }
    SafetensorsWriter writer(hf() / "model.safetensors", DType::f32, records);
    for (const SafetensorsTensor* tensor : tensors) writer.write(tensor->data);
    writer.finish();
  }
  void expect_refused(const std::string& part) const {
    const std::string error = message_of([&] { HfModel model(hf()); });
    EXPECT_NE(error.find(part), error.npos) << error;
    EXPECT_NE(error.find(hf().string()), error.npos) << error;
  }
};

// By hand, for heads of 8 outputs: what the three layouts mean.
TEST_F(HfFolder, TensorsLieAsTheClassesWantThem) {
  const auto value = [&](const char* tensor, int64_t row, int64_t col) {
    const SafetensorsFile file(hf() / "model.safetensors");
    const SafetensorsTensor& found = *file.find(tensor);
    std::vector<float> one(1);
    found.values(row * (found.shape.size() > 1 ? found.shape[1] : 1) + col, one);
    return one[0];
  };
  SmallModel gpt(small_model(Arch::gpt3, true, false));
  write_folder(gpt, hf());
  EXPECT_EQ(value("transformer.h.1.attn.c_attn.weight", 3, 70),
            gpt.find("blocks.1.attention.qkv.weight")[70 * 32 + 3]);
  EXPECT_EQ(value("transformer.h.1.mlp.c_proj.weight", 60, 5),
            gpt.find("blocks.1.mlp.down.weight")[5 * 64 + 60]);
  EXPECT_EQ(value("transformer.wpe.weight", 3, 4), gpt.find("positions.weight")[3 * 32 + 4]);
  fs::remove_all(hf());

  SmallModel neox(small_model(Arch::pythia, false, false));
  write_folder(neox, hf());
  const char* qkv = "gpt_neox.layers.0.attention.query_key_value.weight";
  const float* ours = neox.find("blocks.0.attention.qkv.weight");
  EXPECT_EQ(value(qkv, 8, 2), ours[32 * 32 + 2]);        // first key of head 0
  EXPECT_EQ(value(qkv, 24, 2), ours[8 * 32 + 2]);        // first query of head 1
  EXPECT_EQ(value(qkv, 24 + 17, 2), ours[73 * 32 + 2]);  // second value of head 1: 64 + 8 + 1
  EXPECT_EQ(value("gpt_neox.layers.0.attention.query_key_value.bias", 41, 0),
            neox.find("blocks.0.attention.qkv.bias")[73]);
  fs::remove_all(hf());

  SmallModel llama(small_model(Arch::llama, false, false));
  write_folder(llama, hf());
  const char* key = "model.layers.1.self_attn.k_proj.weight";
  ours = llama.find("blocks.1.attention.k.weight");
  EXPECT_EQ(value(key, 1, 0), ours[2 * 32]);    // first of pair 1
  EXPECT_EQ(value(key, 4, 0), ours[1 * 32]);    // second of pair 0
  EXPECT_EQ(value(key, 15, 0), ours[15 * 32]);  // second of the last pair of head 1
  EXPECT_EQ(value("model.layers.1.self_attn.v_proj.weight", 4, 0),
            llama.find("blocks.1.attention.v.weight")[4 * 32]);
}

TEST_F(HfFolder, ConfigurationsThatOurModelsCannotRepresentAreRefusedByName) {
  const auto refused = [&](Arch arch, const char* key, const Json& value, const char* part = "") {
    make(arch, [&](Json& config) { config[key] = value; });
    expect_refused(*part ? part : key);
  };
  refused(Arch::gpt3, "model_type", "mistral", "model_type \"mistral\" is not supported");
  refused(Arch::gpt3, "architectures", {"GPT2ForSequenceClassification"});
  refused(Arch::gpt3, "activation_function", "relu");
  refused(Arch::gpt3, "scale_attn_weights", false);
  refused(Arch::gpt3, "scale_attn_by_inverse_layer_idx", true);
  refused(Arch::gpt3, "n_embd", 0, "n_embd = 0 is not a whole number");
  refused(Arch::gpt3, "n_embd", 1e30, "n_embd");
  refused(Arch::gpt3, "n_layer", nullptr, "n_layer is missing");
  refused(Arch::gpt3, "n_head", 5, "5 heads do not divide");
  refused(Arch::pythia, "use_parallel_residual", false);
  refused(Arch::pythia, "rotary_pct", 0.1, "cannot be rotated");
  refused(Arch::pythia, "attention_bias", false);
  refused(Arch::llama, "attention_bias", true);
  refused(Arch::llama, "mlp_bias", true);
  refused(Arch::llama, "hidden_act", "gelu");
  refused(Arch::llama, "num_key_value_heads", 3, "do not divide");
  refused(Arch::llama, "partial_rotary_factor", 0.5, "cannot be rotated");
  refused(Arch::llama, "quantization_config", {{"bits", 4}});
  refused(Arch::llama, "sliding_window", 4096);
  refused(Arch::llama, "rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}},
          "rope_scaling.rope_type = \"yarn\"");
  refused(Arch::llama, "rope_parameters",
          {{"rope_type", "llama3"}, {"factor", 2.0}, {"low_freq_factor", 2.0}},
          "rope_parameters.low_freq_factor");
  write("hf/config.json", "[]");
  expect_refused("not a JSON object");
  make(Arch::llama, [](Json& config) { config["new_thing"] = 3; });
  ASSERT_EQ(HfModel(hf()).notes().size(), 1u);
  EXPECT_NE(HfModel(hf()).notes()[0].find("new_thing is not known here"), std::string::npos);
}

TEST_F(HfFolder, BothGenerationsOfRotaryKeysAreRead) {
  make(Arch::llama, [](Json& config) {
    config.erase("rope_theta");
    config["rope_parameters"] = {
        {"rope_theta", 5e5},       {"rope_type", "llama3"},
        {"factor", 8.0},           {"low_freq_factor", 1.0},
        {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 8192}};
  });
  EXPECT_EQ(HfModel(hf()).config().rope_base, 5e5);
  EXPECT_EQ(HfModel(hf()).config().rope_scaling, "llama3");
  make(Arch::pythia, [](Json& config) {
    config.erase("rotary_pct");
    config["rope_parameters"] = {{"rope_theta", 2e4}, {"partial_rotary_factor", 0.5}};
  });
  EXPECT_EQ(HfModel(hf()).config().rotary_fraction, 0.5);
  EXPECT_EQ(HfModel(hf()).config().rope_base, 2e4);
}

TEST_F(HfFolder, TensorsMustBeThoseOfTheConfiguration) {
  make(Arch::gpt3, [](Json& config) { config["n_inner"] = 65; });
  expect_refused("tensor transformer.h.1.mlp.c_proj.weight has shape [64, 32], expected [65, 32]");
  make(Arch::llama);
  rename_tensors([](const std::string& name) {
    return name == "model.layers.0.mlp.up_proj.weight" ? "" : name;
  });
  expect_refused("tensor model.layers.0.mlp.up_proj.weight is missing");
  make(Arch::llama);
  rename_tensors([](const std::string& name) { return name; }, "model.norm.weight",
                 "model.layers.0.self_attn.q_norm.weight");
  expect_refused("tensor model.layers.0.self_attn.q_norm.weight has no place");
}

TEST_F(HfFolder, FilesOfOlderProgramsAreRead) {
  // Without the prefix, and with tables that are no weights.
  make(Arch::gpt3, {}, true);
  const auto expected = Loaded(hf()).losses();
  rename_tensors([](const std::string& name) { return name.substr(name.find('.') + 1); },
                 "transformer.ln_f.bias", "h.0.attn.bias");
  EXPECT_EQ(Loaded(hf()).losses(), expected);
  // A tied head stored twice must be the embedding.
  const auto same = [](const std::string& name) { return name; };
  make(Arch::gpt3, {}, true);
  rename_tensors(same, "transformer.wte.weight", "lm_head.weight");
  EXPECT_EQ(Loaded(hf()).losses(), expected);
  make(Arch::gpt3, [](Json& config) { config["tie_word_embeddings"] = true; });
  expect_refused("lm_head.weight differs from transformer.wte.weight");
  // The head of GPT-NeoX has had two names.
  make(Arch::pythia);
  const auto neox = Loaded(hf()).losses();
  rename_tensors(
      [](const std::string& name) { return name == "embed_out.weight" ? "lm_head.weight" : name; });
  EXPECT_EQ(Loaded(hf()).losses(), neox);
}

TEST_F(HfFolder, ModelsThatTheClassesCannotExpressAreRefusedByName) {
  const auto refused = [&](Arch arch, const char* part, void (*change)(ModelConfig&)) {
    ModelConfig config = small_model(arch, true, false);
    change(config);
    const std::string error = message_of([&] { write_folder(SmallModel(config), hf()); });
    EXPECT_NE(error.find(part), error.npos) << error;
    EXPECT_TRUE(fs::is_empty(path("")));
  };
  refused(Arch::llama, "model.qk_norm", [](ModelConfig& c) { c.qk_norm = true; });
  refused(Arch::gpt3, "model.logit_softcap", [](ModelConfig& c) { c.logit_softcap = 30; });
  refused(Arch::pythia, "model.kv_heads", [](ModelConfig& c) { c.kv_heads = 2; });
  refused(Arch::gpt3, "model.head_dim", [](ModelConfig& c) { c.head_dim = 16; });
  refused(Arch::llama, "model.rotary_fraction", [](ModelConfig& c) { c.rotary_fraction = 0.5; });
  refused(Arch::gpt3, "260 tokens", [](ModelConfig& c) { c.vocabulary = 200; });
  SmallModel diverged(small_model(Arch::gpt3, true, false));
  diverged.find("blocks.1.mlp.up.weight")[70] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_NE(message_of([&] {
              write_folder(diverged, hf());
            }).find("transformer.h.1.mlp.c_fc.weight holds nan at row 6, column 2"),
            std::string::npos);
  diverged.find("blocks.1.mlp.up.weight")[70] = 70000;
  EXPECT_THROW(write_folder(diverged, hf(), DType::f16), UserError);
  EXPECT_TRUE(fs::is_empty(path("")));
  EXPECT_NO_THROW(write_folder(diverged, hf(), DType::bf16));
}

TEST_F(HfFolder, OnlyFoldersOfOurOwnKindAreReplaced) {
  const SmallModel from(small_model(Arch::llama, true, false));
  const auto again = [&](bool replace) {
    return message_of([&] {
      write_folder(from.config, from.table, from.parameters, nullptr, hf(), DType::f32, 1 << 30,
                   replace);
    });
  };
  fs::create_directory(hf());
  EXPECT_EQ(again(false), "(nothing was thrown)");  // an empty folder is as good as none
  EXPECT_NE(again(false).find("--force"), std::string::npos);
  EXPECT_EQ(again(true), "(nothing was thrown)");
  write("hf/thesis.tex", "");
  EXPECT_NE(again(true).find("thesis.tex"), std::string::npos);
  EXPECT_EQ(std::distance(fs::directory_iterator(path("")), {}), 1) << "something was left behind";
}

TEST_F(HfFolder, AChatTemplateTravels) {
  const SmallModel source(small_model(Arch::llama, true, false));
  ThreadTeam team(1);
  const auto chat_of = [&](const std::string& chat_template, const char* name) {
    export_hf({.model = source.config,
               .table = source.table,
               .parameters = source.parameters,
               .tokenizer = source.tokenizer.get(),
               .chat_template = chat_template},
              path(name), false, team);
    return open_model(path(name))->chat();
  };
  const std::string text = "{{ bos_token }}{{ messages[0]['content'] }}\n";
  const ChatFormat chat = chat_of(text, "chat");
  EXPECT_EQ(chat.chat_template, text);
  EXPECT_EQ(chat.eos, source.tokenizer->token_text(source.tokenizer->separator()));
  EXPECT_EQ(chat.end_ids, std::vector<int32_t>{source.tokenizer->separator()});
  EXPECT_EQ(chat_of("", "base").chat_template, "");
  // Where newer programs keep it, and who wins.
  write("chat/chat_template.jinja", "other");
  EXPECT_EQ(open_model(path("chat"))->chat().chat_template, "other");
}

TEST_F(HfFolder, ATokenizerOfGpt2sKindHasItsTwoFilesToo) {
  make(Arch::gpt3);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"}) fs::remove(hf() / name);
  EXPECT_EQ(HfModel(hf()).tokenizer()->to_json(), byte_level_tokenizer()->to_json());
  make(Arch::llama);
  EXPECT_FALSE(fs::exists(hf() / "merges.txt"));
}

TEST_F(HfFolder, ASentencePieceModelIsWrittenAsOne) {
  const std::string json =
      R"({"model": {"type": "BPE", "byte_fallback": false, "unk_token": "<unk>",
    "isoflop": {"pieces": {"space_prefix": true, "collapse_spaces": false, "separator": 2,
      "types": "?ccnnnn", "scores": [0, 0, 0, -1, -2, -3, -4]}},
    "vocab": {"<unk>": 0, "<s>": 1, "</s>": 2, "ab": 3, "a": 4, "b": 5, "\u2581": 6},
    "merges": ["a b"]}})";
  const auto tokenizer = Tokenizer::from_json(json, "test");
  const auto again = read_sentencepiece(write_sentencepiece(*tokenizer), "test");
  EXPECT_EQ(again->to_json(), tokenizer->to_json());
}

}  // namespace
}  // namespace isoflop
