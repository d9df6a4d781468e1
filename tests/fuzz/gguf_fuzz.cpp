// GGUF files: the container, the model read out of it, its tokenizer, every block type.
#include "core/file.hpp"
#include "formats/gguf.hpp"
#include "pretrain/gguf_import.hpp"
#include "pretrain/gguf_names.hpp"
#include "pretrain/model/architecture.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/input_file.hpp"

#include <functional>

namespace isoflop::fuzz {
namespace {

ModelConfig tiny(Arch arch) {
  ModelConfig c;
  c.arch = arch;
  c.layers = 1;
  c.d_model = 32;
  c.heads = c.kv_heads = 2;
  c.head_dim = 16;
  c.d_ff = 32;
  c.context = 8;
  c.vocabulary = 258;
  c.tied_embeddings = arch != Arch::pythia;
  c.rotary_fraction = arch == Arch::gpt3 ? 0 : arch == Arch::pythia ? 0.25 : 1;
  return c;
}

using Keys = gguf::ModelKeys;
using More = std::function<void(GgufWriter&, const Keys&)>;

/// A whole model of zeros with a byte-level tokenizer, matrices of `type`, and `more` keys.
std::string model_file(Arch arch, BlockType type, const More& more = {}) {
  const ModelConfig c = tiny(arch);
  const fs::path path = input_file("seed.gguf", "");
  {
    GgufWriter writer(path);
    const Keys keys(arch);
    writer.put_text(gguf::kArchitecture, keys.architecture);
    const std::pair<std::string, int64_t> sizes[] = {
        {keys.context_length, c.context}, {keys.embedding_length, c.d_model},
        {keys.block_count, c.layers},     {keys.feed_forward_length, c.d_ff},
        {keys.head_count, c.heads},       {keys.rope_dimension_count, c.rotary_dim()}};
    for (const auto& [key, value] : sizes)
      if (value > 0) writer.put_u32(key, static_cast<uint32_t>(value));
    writer.put_f32(keys.norm_epsilon, 1e-5f);
    if (more) more(writer, keys);
    writer.put_text("tokenizer.ggml.model", "gpt2");
    writer.put_text("tokenizer.ggml.pre", "gpt-2");
    std::vector<std::string> tokens = {"<|endoftext|>"};
    for (int byte = 0; byte < 256; ++byte) {
      const bool shown = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
      static int next = 0;
      if (byte == 0) next = 256;
      const int code = shown ? byte : next++;
      tokens.push_back(code < 128 ? std::string(1, static_cast<char>(code))
                                  : std::string{static_cast<char>(0xc0 | code >> 6),
                                                static_cast<char>(0x80 | (code & 63))});
    }
    tokens.push_back("ab");
    writer.put_texts("tokenizer.ggml.tokens", tokens);
    std::vector<int32_t> types(tokens.size(), 1);
    types[0] = 3;
    writer.put_i32s("tokenizer.ggml.token_type", types);
    writer.put_texts("tokenizer.ggml.merges", {"a b"});
    writer.put_u32("tokenizer.ggml.eos_token_id", 0);
    const ParamTable table = make_param_table(c);
    const auto type_of = [&](const ParamSpec& spec) {
      return spec.is_vector() || !block_codec(type).fits(spec.cols) ? BlockType::f32 : type;
    };
    for (const ParamSpec& spec : table)
      writer.add_tensor(
          spec.gguf[0].name,
          spec.is_vector() ? std::vector{spec.cols} : std::vector{spec.cols, spec.rows},
          type_of(spec));
    for (const ParamSpec& spec : table)
      writer.write(spec.gguf[0].name, std::vector<std::byte>(static_cast<size_t>(
                                          block_codec(type_of(spec)).bytes_for(spec.size()))));
    writer.finish();
  }
  return read_file(path);
}

void parallel(GgufWriter& writer, const Keys& keys) {
  writer.put_boolean(keys.parallel_residual, true);
}

std::vector<std::string> seeds() {
  std::vector<std::string> all;
  for (const Arch arch : {Arch::gpt3, Arch::pythia, Arch::llama})
    for (const BlockType type : {BlockType::f32, BlockType::q4_0, BlockType::mxfp4})
      all.push_back(model_file(arch, type, arch == Arch::pythia ? More(parallel) : More()));
  all.push_back(model_file(Arch::llama, BlockType::q8_0, [](GgufWriter& writer, const Keys& keys) {
    writer.put_u32("general.alignment", 64);
    writer.put_text(gguf::kName, "a name");
    writer.put_u32(keys.head_count_kv, 2);
    writer.put_u32(keys.key_length, 16);
    writer.put_f32(keys.rope_freq_base, 5e5f);
    writer.put_text(keys.rope_scaling_type, "linear");
    writer.put_f32(keys.rope_scaling_factor, 2);
    writer.put_boolean(gguf::kAddBos, true);
    writer.put_f32s("list", {1, 2});
  }));
  return all;
}

std::vector<std::string> refused() {
  const auto llama = [](const More& more) { return model_file(Arch::llama, BlockType::f32, more); };
  return {
      model_file(Arch::pythia, BlockType::f32,
                 [](GgufWriter& w, const Keys& k) { w.put_boolean(k.parallel_residual, false); }),
      llama([](GgufWriter& w, const Keys&) { w.put_f32("general.alignment", 32); }),
      llama([](GgufWriter& w, const Keys&) { w.put_u32("general.alignment", 48); }),
      llama([](GgufWriter& w, const Keys& k) { w.put_u32(k.head_count_kv, 3); }),
      llama([](GgufWriter& w, const Keys& k) { w.put_u32(k.value_length, 8); }),
      llama([](GgufWriter& w, const Keys& k) { w.put_u32(k.expert_count, 4); }),
      llama([](GgufWriter& w, const Keys& k) { w.put_text(k.rope_scaling_type, "yarn"); }),
  };
}

void run(std::string_view input) {
  static ThreadTeam team(1);
  std::vector<float> row;
  const fs::path path = input_file("fuzz.gguf", input);
  const GgufFile file(path);
  if (!GgufFile::looks_like_gguf(path)) found("a GGUF file that does not look like one");
  for (const std::string_view key : file.keys()) {
    const GgufValue& value = *file.find(key);
    if (value.type == GgufType::f32 && value.is_array) file.f32s(key);
    if (value.type == GgufType::f32 && !value.is_array) file.find_f32(key);
  }
  for (const GgufTensor& tensor : file.tensors()) {
    if (find_block_codec(tensor.codec->name) != &block_codec(tensor.codec->type))
      found("a block type with two names");
    if (!tensor.codec->dequantize) continue;
    row.resize(static_cast<size_t>(tensor.cols()));
    tensor.codec->dequantize(tensor.data.data(), tensor.cols(), row.data());
  }
  const GgufModel model{GgufFile(path)};
  const ParamTable table = make_param_table(model.config());
  ParamBuffer parameters(table, DType::f32, "fuzz");
  model.read_parameters(table, parameters, team);
  model.tokenizer();
  model.name();
}

const Registered target({"gguf",
                         seeds,
                         run,
                         {"formats/gguf_file.cpp", "pretrain/gguf_import.cpp",
                          "pretrain/gguf_names.cpp"},
                         refused});

}  // namespace
}  // namespace isoflop::fuzz
