// The importance matrix: for each matrix product of a model's blocks, how large its inputs are,
// column by column. Quantizers then spend a block's precision where it is multiplied by most. The
// file is the runtime's: a GGUF file of general.type "imatrix" with, per weight NAME,
// NAME.in_sum2 (inputs) and NAME.counts (1), both F32; or its older one (importance_dat.hpp).
#pragma once
#include "core/file.hpp"
#include "core/param.hpp"
#include "ops/forwarding_backend.hpp"

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct ImportanceMatrix {
  struct Inputs {
    std::vector<float> sums;  // of the squares of each column
    float count = 0;          // of the tokens that were summed
  };
  std::string origin;                                 // the file, or where the text came from
  std::vector<std::string> texts;                     // what the model read
  uint32_t chunks = 0, chunk_tokens = 0;              // in pieces of how many tokens
  std::map<std::string, Inputs, std::less<>> inputs;  // by the weight's name in a GGUF file

  /// Mean squares for a matrix of `cols` inputs, all 1 where no token was seen; empty for one that
  /// the matrix does not have. UserError when it has another width.
  std::vector<float> of(std::string_view tensor, int64_t cols) const;
};

/// Of either form. UserError or FormatError when the file is not one, damaged, or holds what is no
/// mean square.
ImportanceMatrix read_importance(const fs::path& file);
/// In the older form where the name ends in .dat.
void write_importance(const ImportanceMatrix& matrix, const fs::path& file);

/// Another backend that sums the squares of what each weight is multiplied by. Make the model with
/// it, let the model read text, and take().
class CalibratingBackend final : public ForwardingBackend {
 public:
  using ForwardingBackend::ForwardingBackend;

  WeightRef prepare(View master) override;
  void matmul(const Matmul&) override;

  /// What was seen of the matrices of blocks, under their names in a GGUF file. `parameters` are
  /// those that the model was made with.
  ImportanceMatrix take(const ParamTable& table, const ParamBuffer& parameters) const;

 private:
  struct Seen {
    std::vector<double> sums;
    int64_t count = 0;
  };
  std::map<const void*, const void*> masters_;  // by the weight's handle
  std::map<const void*, Seen> seen_;            // likewise
};

}  // namespace isoflop
