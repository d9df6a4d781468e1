#include "scaling/devices.hpp"

#include "core/error.hpp"
#include "core/math.hpp"
#include "core/param.hpp"
#include "pretrain/model/architecture.hpp"

#include <fmt/ranges.h>

#include <algorithm>

namespace isoflop {

namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;
constexpr double kGB = 1e9;

constexpr int64_t kPiece = 512;      // tokens of a prompt computed at once (llama.cpp's -ub)
constexpr int64_t kCacheStep = 256;  // a context is rounded up to this many tokens
// Measured (docs/results.md, "Memory in llama.cpp"): the code and state of its server, and what it
// keeps of a token of the vocabulary: its text twice, its merge, two hash tables.
constexpr double kProgram = 22e6, kProgramPerToken = 540;

/// Of llama.cpp's choices, those of types that are written here.
bool rearranges(Rearranged how, std::string_view type) {
  const bool by_both = type == "Q4_0" || type == "Q4_K";
  const bool by_arm = type == "Q8_0" || type == "Q5_K" || type == "Q6_K";
  return how != Rearranged::none && (by_both || (how == Rearranged::arm_dot_product && by_arm));
}

}  // namespace

// Bandwidth is the memory's data rate times the width of its bus, from the memory's standard and
// the maker's specification. The sustained share is what simple streaming programs reach on such
// machines: well over half of it, on the Raspberry Pi 4 about a third. Memory is what is installed
// less an allowance for the system: an eighth and more on a small computer, about half on a phone,
// where the system ends what takes more.
const std::vector<Device>& devices() {
  static const std::vector<Device> table = {
      {"pi4-2gb", 1.5 * kGiB, 12.8 * kGB, 0.35, "LPDDR4-3200 x 32 bit, 2 GB less 0.5"},
      {"pi4-4gb", 3.4 * kGiB, 12.8 * kGB, 0.35, "LPDDR4-3200 x 32 bit, 4 GB less 0.6"},
      {"pi4-8gb", 7.2 * kGiB, 12.8 * kGB, 0.35, "LPDDR4-3200 x 32 bit, 8 GB less 0.8"},
      {"pi5-8gb", 7.2 * kGiB, 17.1 * kGB, 0.6, "LPDDR4X-4267 x 32 bit, 8 GB less 0.8",
       Rearranged::arm_dot_product},
      {"phone-6gb", 2.5 * kGiB, 34.1 * kGB, 0.6, "LPDDR4X-4267 x 64 bit, 6 GB of which 2.5",
       Rearranged::arm_dot_product},
      {"phone-8gb", 4.0 * kGiB, 51.2 * kGB, 0.6, "LPDDR5-6400 x 64 bit, half of 8 GB",
       Rearranged::arm_dot_product},
      {"phone-12gb", 6.5 * kGiB, 68.3 * kGB, 0.6, "LPDDR5X-8533 x 64 bit, 12 GB of which 6.5",
       Rearranged::arm_dot_product},
      {"laptop-8gb", 5.0 * kGiB, 38.4 * kGB, 0.65, "2 x DDR4-2400 x 64 bit, 8 GB less 3",
       Rearranged::avx2},
      {"laptop-16gb", 12.0 * kGiB, 51.2 * kGB, 0.65, "2 x DDR4-3200 x 64 bit, 16 GB less 4",
       Rearranged::avx2},
      {"laptop-32gb", 27.0 * kGiB, 89.6 * kGB, 0.65, "2 x DDR5-5600 x 64 bit, 32 GB less 5",
       Rearranged::avx2},
      {"mac-16gb", 10.7 * kGiB, 102.4 * kGB, 0.75,
       "M2: LPDDR5-6400 x 128 bit, two thirds of 16 GB"},
      {"gpu-8gb", 7.2 * kGiB, 272.0 * kGB, 0.75, "GDDR6 17 Gbit/s x 128 bit, 8 GB less 0.8"},
      {"gpu-24gb", 22.5 * kGiB, 936.0 * kGB, 0.75, "GDDR6X 19.5 Gbit/s x 384 bit, 24 GB less 1.5"},
  };
  return table;
}

const Device& find_device(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Device& device : devices()) {
    if (device.name == name) return device;
    names.push_back(device.name);
  }
  fail_user("no device {} is known; choose one of {}", name, fmt::join(names, ", "));
}

void ModelWeights::add(std::string_view type, double bytes, bool read_whole) {
  const double read = read_whole ? bytes : 0;
  total += bytes;
  streamed += read;
  auto same = std::find_if(by_type.begin(), by_type.end(),
                           [&](const OfType& of) { return of.type == type; });
  if (same == by_type.end()) same = by_type.insert(same, OfType{std::string(type)});
  same->bytes += bytes;
  same->streamed += read;
  std::stable_sort(by_type.begin(), by_type.end(),
                   [](const OfType& a, const OfType& b) { return a.bytes > b.bytes; });
}

ModelWeights weights_of_shape(const ModelConfig& model, BlockType matrices, BlockType output) {
  ModelWeights weights;
  for (const ParamSpec& spec : make_param_table(model)) {
    const bool embedding = spec.name == "embedding.weight",
               positions = spec.name == "positions.weight";
    const bool is_output = spec.name == "head.weight" || (embedding && model.tied_embeddings);
    BlockType type = is_output ? output : matrices;
    if (!block_codec(type).fits(spec.cols)) type = BlockType::f16;
    if (spec.is_vector() || positions) type = BlockType::f32;
    const BlockCodec& codec = block_codec(type);
    const double bytes =
        static_cast<double>(spec.rows) * static_cast<double>(codec.bytes_for(spec.cols));
    weights.add(codec.name, bytes, !positions && (!embedding || model.tied_embeddings));
  }
  return weights;
}

DeviceFit fit_on_device(const Device& device,
                        const ModelConfig& model,
                        const ModelWeights& weights,
                        int64_t context) {
  const auto d = [](int64_t n) { return static_cast<double>(n); };
  DeviceFit fit;
  fit.weights = weights.total;
  // Keys and values, two bytes each.
  fit.cache = 2.0 * 2 * d(model.layers) * d(round_up(context, kCacheStep)) * d(model.kv_heads) *
              d(model.head_dim);
  // Alive at once in F32: the inner activations of the MLP beside the residual stream and its norm,
  // and the mask of which position may see which. Room for the logits of a whole piece is reserved
  // too, but the pages are touched where logits are asked for.
  const double piece = d(std::min(kPiece, context));
  const double inner = (is_llama(model.arch) ? 2.0 : 1.0) * d(model.d_ff);
  fit.compute = 4 * piece * (inner + 2.0 * d(model.d_model) + d(round_up(context, kCacheStep))) +
                4 * d(model.vocabulary);
  fit.program = kProgram + kProgramPerToken * d(model.vocabulary);
  for (const ModelWeights::OfType& of : weights.by_type)
    if (rearranges(device.rearranged, of.type)) fit.rearranged += of.streamed;
  const double rate = device.bandwidth * device.sustained;
  fit.tokens_per_s = rate / weights.streamed;
  fit.tokens_per_s_full = rate / (weights.streamed + fit.cache);
  fit.shortfall = std::max(0.0, fit.total() - device.memory);
  return fit;
}

}  // namespace isoflop
