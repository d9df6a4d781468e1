// OpCase: one op at one shape, written once and run three ways on any backend:
//   OpGradient  the reference backward in double equals a complex step through the reference
//   forward; OpParity    every backend gives what the reference gives in double, within the case's
//   fp32 bound and, where activations are bf16, one rounding to that more;
//   OpThreads   the CPU backend gives the same bits with 1, 2 and 3 threads.
// A family's test file lists its cases and instantiates these suites.
#pragma once
#include "ops/backend.hpp"
#include "tests/support/compare.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace isoflop::test {

/// Named tensors. Parameters, their gradients and statistics, known by their names ("w", "dgain",
/// "lse", ...), have the state dtype that belongs to `dtype`, all others `dtype` itself. A tensor
/// is made at its first mention; what it starts with depends on its name and shape alone, so two
/// sets of different dtype start from the same numbers; with `coarse`, from such that bf16 holds.
class Tensors {
 public:
  explicit Tensors(DType dtype, bool coarse = false)
      : dtype_(dtype), coarse_(coarse || dtype == DType::bf16) {}

  /// Normal(mean, scale). Also for gradients that an op adds to: they start with something to lose.
  View random(
      const std::string& name, int64_t rows, int64_t cols, double scale = 1, double mean = 0);
  View constant(const std::string& name, int64_t rows, int64_t cols, double value);
  /// Starts as NaN.
  View output(const std::string& name, int64_t rows, int64_t cols);

  View operator[](const std::string& name) const { return tensors_.at(name).now.view(); }
  /// What an op added to (or, where it started as NaN, wrote over) the tensor; in double.
  Tensor change(const std::string& name) const;
  std::vector<std::string> names() const;
  static bool is_state(const std::string& name);
  /// Takes over the values of another set's activations.
  void take_activations(const Tensors& from);

 private:
  struct Entry {
    Tensor now, start;
  };
  template <class Fill>
  View make(const std::string& name, int64_t rows, int64_t cols, Fill fill);

  DType dtype_;
  bool coarse_;
  std::map<std::string, Entry> tensors_;
};

struct OpCase {
  std::string name;  // letters, digits and _
  /// Fills the outputs of the forward.
  std::function<void(Backend&, Tensors&)> forward;
  /// Given d<output> for each of `outputs`, fills d<input> for each of `inputs`. May be empty.
  std::function<void(Backend&, Tensors&)> backward;
  std::vector<std::string> inputs, outputs;
  /// Bound on relative_error in fp32: roundings of 2^-24, in sums of n terms growing like sqrt(n),
  /// and the op's own condition. Each family states its own.
  double bound = 0;
  /// What statistics lose besides when activations between two ops of the forward are bf16.
  double bf16_state_bound = 0;
  /// How often an activation is rounded at most, by who does an op in parts.
  int bf16_roundings = 1;
};

inline void PrintTo(const OpCase& c, std::ostream* out) {
  *out << c.name;
}
inline std::string case_name(const ::testing::TestParamInfo<OpCase>& info) {
  return info.param.name;
}

/// Bound for results that sum `terms` products or powers of order one.
double fp32_bound(int64_t terms);

/// Tokens or targets in [0, bound).
std::vector<int32_t> random_tokens(int64_t count, int64_t bound, uint64_t seed = 1);

/// Every named tensor of `got` against `want`: activations within `bound`, state within
/// `state_bound`.
void expect_close(const Tensors& got,
                  const Tensors& want,
                  double bound,
                  double state_bound,
                  const std::string& who);

class OpGradient : public ::testing::TestWithParam<OpCase> {};
class OpParity : public ::testing::TestWithParam<OpCase> {};
class OpThreads : public ::testing::TestWithParam<OpCase> {};

}  // namespace isoflop::test
