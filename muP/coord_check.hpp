// Coordinate check (Yang et al. 2022, appendix D.1): train models of several sizes for a few steps
// and look how the size of what each module computes depends on the size of the model. Where the
// parametrization is right, nothing does. Here are the statistics and the judgement; the caller
// trains.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace isoflop {

enum class CoordModule : uint8_t { embedding, attention_logits, attention, mlp, stream, logits };
inline constexpr CoordModule kCoordModules[] = {
    CoordModule::embedding, CoordModule::attention_logits, CoordModule::attention,
    CoordModule::mlp,       CoordModule::stream,           CoordModule::logits};
const char* name_of(CoordModule module);

/// One module of one model at one step, all layers together. Step 1 is before any update.
struct CoordRow {
  CoordModule module = CoordModule::embedding;
  double size = 0;  // width or layers
  int64_t step = 0;
  uint64_t seed = 0;
  double mean = 0;    // |x|
  double change = 0;  // |x - x at step 1| on the same tokens
};

/// y ~ size^slope by least squares in logarithms; low and high bound the slope with 95 % (Student).
/// NaN where fewer than two sizes have positive finite values.
struct SlopeFit {
  double slope = 0, low = 0, high = 0;
};
SlopeFit fit_slope(const std::vector<double>& sizes, const std::vector<double>& values);

enum class CoordDimension : uint8_t { width, depth };

/// What the judge is told about the models beside the numbers.
struct CoordSetting {
  CoordDimension dimension = CoordDimension::width;
  std::string kind;         // sp | mup | completep
  bool heads_grow = false;  // head_dim differs between the models
};

struct CoordSlope {
  CoordModule module = CoordModule::embedding;
  SlopeFit start;   // of the mean at step 1
  SlopeFit late;    // of the mean over steps 4 and later (2 and later over depths)
  SlopeFit change;  // of the change over the same steps
  bool judged = false;
  bool pass = true;
};

struct CoordVerdict {
  bool pass = true;
  std::vector<CoordSlope> slopes;   // in the order of kCoordModules
  std::string finding, cause, fix;  // empty when all is well
};

/// The largest |slope| that passes (embedding: a third of it).
inline constexpr double kCoordLimit = 0.15;

/// Fails, too, when anything grows before the first update or is not finite. Attention logits of
/// heads that grow have to fall then, as head_dim^-1/2: with the usual 1/sqrt(head_dim) they do
/// not.
CoordVerdict judge(const std::vector<CoordRow>& rows, const CoordSetting& setting);

}  // namespace isoflop
