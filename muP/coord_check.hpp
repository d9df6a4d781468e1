// Coordinate check (Yang et al. 2022, appendix D.1): train models of several sizes for a few steps
// and look how the size of what each module computes depends on the size of the model. Where the
// parametrization is right, nothing does. Here are the statistics and the judgement; the caller
// trains.
//
// What is judged, and why not simply mean |x| at late steps. The first updates all push into the
// one direction that every token shares (how often each token occurs). It overshoots and turns
// back, and mean |x| falls to a third within two or three steps. When that is differs between
// models of finite width, by a step or two, and where a curve is that steep a lag of one step looks
// like a slope of -0.7 to +0.3 in a model without a fault. A wrong power of the width does not wait
// for that: the very first update is as many times too large. So
//   - the rate rises linearly over kCoordRamp updates, as in any real run: the way to the turn
//   takes
//     several steps, not two;
//   - slopes of the change since step 1 are taken from the first update to the last step before
//     anything, at any size, moves back;
//   - mean |x| is judged before the first update, where it is known; afterwards only its growth is,
//     with a limit that no lag reaches.
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
  bool muon = false;        // updates the hidden matrices: their rate goes as 1/sqrt(width)
};

struct CoordSlope {
  CoordModule module = CoordModule::embedding;
  SlopeFit start;   // of the mean at step 1
  SlopeFit change;  // of the change over steps 2 to CoordVerdict::turn
  SlopeFit late;    // of the mean over steps 4 and later (2 and later over depths)
  bool judged = false;
  bool pass = true;
};

struct CoordVerdict {
  bool pass = true;
  int64_t turn = 0;                 // the last step before any change shrinks
  std::vector<CoordSlope> slopes;   // in the order of kCoordModules
  std::string finding, cause, fix;  // empty when all is well
};

/// Updates over which the caller lets the rate rise: update i (from 1) has the rate times
/// min(1, i / kCoordRamp).
inline constexpr int64_t kCoordRamp = 20;

/// The largest slope of mean |x| before the first update (embedding: a third of it, at any step).
/// There is no noise but the initial values'.
inline constexpr double kCoordLimit = 0.15;
/// The largest |slope| of the change: halfway to the nearest wrong power, a root of the width.
inline constexpr double kCoordChangeLimit = 0.25;
/// The largest slope of mean |x| at later steps, over widths. Over depths it is kCoordLimit.
inline constexpr double kCoordLateLimit = 0.5;

/// Fails, too, when a number is not finite. Two things may fall as a root of the width: logits,
/// whose initial part is a sum of independent products divided by the width, and attention logits
/// of heads that grow under 1/head_dim. The latter must before the first update: with the usual
/// 1/sqrt(head_dim) they do not.
CoordVerdict judge(const std::vector<CoordRow>& rows, const CoordSetting& setting);

}  // namespace isoflop
