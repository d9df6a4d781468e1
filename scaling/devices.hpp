// The machines that people run models on, and whether a model runs there: memory, and the tokens
// per second that reading every weight once per token allows.
#pragma once
#include "formats/block_codec.hpp"
#include "pretrain/config/run_config.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

/// Which blocks llama.cpp keeps a second time on a processor, rearranged for its vectors, beside
/// the mapped file. A graphics processor takes them as they are.
enum class Rearranged { none, avx2, arm_dot_product };

struct Device {
  std::string_view name;    // pi4-4gb
  double memory;            // bytes that a program may have: installed less what the system keeps
  double bandwidth;         // bytes per second of the bus, at its rate
  double sustained;         // share of it that a stream of reads gets
  std::string_view source;  // where the figures come from
  Rearranged rearranged = Rearranged::none;
};

const std::vector<Device>& devices();
/// UserError with the list of names.
const Device& find_device(std::string_view name);

/// Bytes of a model by type, as it lies in a file.
struct ModelWeights {
  struct OfType {
    std::string type;
    double bytes = 0;
    double streamed = 0;  // read for each token: all but an untied embedding, of which a row is
  };
  std::vector<OfType> by_type;  // largest first
  double total = 0, streamed = 0;

  void add(std::string_view type, double bytes, bool read_whole);
};

/// Of a shape alone: `matrices` for all but the output (the embedding where tied), which gets
/// `output`; a row that the block does not divide is F16, vectors and learned positions are F32.
/// What Q4_0 files have by default is Q6_K for the output.
ModelWeights weights_of_shape(const ModelConfig& model,
                              BlockType matrices = BlockType::q4_0,
                              BlockType output = BlockType::q6_k);

/// What running a model takes on a device, in bytes, and how fast it can be. The runtime is
/// llama.cpp's with its defaults: keys and values in F16, prompts in pieces of 512 tokens, flash
/// attention, the file mapped into memory, one user who asks for the last token's logits.
struct DeviceFit {
  double weights = 0;
  double cache = 0;              // keys and values of the whole context
  double compute = 0;            // activations of a piece, its mask, logits of one token
  double program = 0;            // the program itself and its vocabulary
  double rearranged = 0;         // blocks kept a second time
  double tokens_per_s = 0;       // with little in the cache
  double tokens_per_s_full = 0;  // with a full one
  double shortfall = 0;          // bytes too few; 0: it runs

  /// What it cannot do without.
  double total() const { return weights + cache + compute + program; }
  /// What the process has at most where memory is plentiful. The mapped pages of rearranged blocks
  /// are never read again, so a system that is short of memory drops them.
  double peak() const { return total() + rearranged; }
  bool fits() const { return shortfall <= 0; }
};
DeviceFit fit_on_device(const Device& device,
                        const ModelConfig& model,
                        const ModelWeights& weights,
                        int64_t context);

}  // namespace isoflop
