#include "launch/coord_gate.hpp"

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/hash.hpp"
#include "core/math.hpp"
#include "core/rng.hpp"
#include "launch/coord_run.hpp"
#include "launch/machine.hpp"
#include "launch/program.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/parametrized.hpp"
#include "pretrain/train/prepare.hpp"

#include <cmath>
#include <cstdlib>

namespace isoflop {

namespace {

constexpr int64_t kLayers = 2, kContext = 128, kSequences = 4, kVocabulary = 256;
constexpr int64_t kNarrowest = 64, kWidths = 3;
constexpr uint64_t kSeeds = 3;

/// Text of words in which one of four follows each: enough to learn from, and the rules are the
/// same for any other.
void write_tokens(uint64_t sequence, std::span<int32_t> window) {
  uint64_t token = sequence % kVocabulary;
  for (size_t i = 0; i < window.size(); ++i) {
    window[i] = static_cast<int32_t>(token);
    token = (token * 37 + 11 + philox(3, sequence, i)[0] % 4) % kVocabulary;
  }
}

fs::path cached_as(const RunConfig& config, const fs::path& cache) {
  std::string family = program_hash();
  for (const int64_t width : gate_widths(config))
    family += config_to_toml(reduced(config, width), {});
  return cache / (hash_hex(hash_bytes(family.data(), family.size())) + ".toml");
}

std::vector<CoordRow> measure(const RunConfig& config, bool muon_alone, const Context& context) {
  Machine machine(fp32_on(config.compute.threads));
  std::vector<CoordRow> rows;
  for (const int64_t width : gate_widths(config)) {
    const RunConfig small = reduced(config, width);
    const ParamTable table = make_parametrized_table(small);
    for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
      context.note("coordinate check: width {}, seed {}", width, seed);
      const std::vector<CoordRow> more = run_coordinates({.config = small,
                                                          .table = table,
                                                          .batch = batch_plan(small),
                                                          .source = write_tokens,
                                                          .seed = seed,
                                                          .size = static_cast<double>(width),
                                                          .muon_alone = muon_alone},
                                                         *machine.backend);
      rows.insert(rows.end(), more.begin(), more.end());
    }
  }
  return rows;
}

}  // namespace

std::vector<int64_t> gate_widths(const RunConfig& config) {
  std::vector<int64_t> widths;
  for (int64_t i = 0; i < kWidths; ++i)
    widths.push_back(round_up(kNarrowest, config.model.head_dim) << i);
  return widths;
}

RunConfig reduced(const RunConfig& config, int64_t width) {
  RunConfig small;
  small.model = config.model;
  small.optimizer = config.optimizer;
  small.parametrization = config.parametrization;
  ModelConfig& model = small.model;
  model.d_ff = std::max<int64_t>(
      1, std::llround(static_cast<double>(model.d_ff) * static_cast<double>(width) /
                      static_cast<double>(model.d_model)));
  model.d_model = width;
  model.heads = model.kv_heads = width / model.head_dim;
  model.layers = std::min(model.layers, kLayers);
  model.context = std::min(model.context, kContext);
  model.vocabulary = kVocabulary;
  // They follow from the width, and are written again.
  model.embedding_multiplier = model.residual_multiplier = 1;
  model.output_multiplier = model.attention_multiplier = 1;
  small.schedule.steps = 1;
  small.schedule.batch_tokens = kSequences * model.context;
  return resolved(small);
}

fs::path coordcheck_cache() {
  const auto folder = [](const char* variable) {
    const char* value = std::getenv(variable);
    return value && *value ? fs::path(value) : fs::path();
  };
  if (const fs::path cache = folder("XDG_CACHE_HOME"); !cache.empty())
    return cache / "isoflop" / "coordcheck";
  const fs::path home = folder("HOME");
  return home.empty() ? home : home / ".cache" / "isoflop" / "coordcheck";
}

void require_coordinates(const RunConfig& config, const fs::path& cache, const Context& context) {
  if (config.parametrization.kind == "sp") return;
  const fs::path kept = cache.empty() ? fs::path() : cached_as(config, cache);
  if (!kept.empty() && fs::exists(kept)) {
    context.note("coordinate check: this family has passed ({})", kept.string());
    return;
  }
  const bool muon = config.optimizer.kind == "muon";
  for (const bool muon_alone : {false, true}) {
    if (muon_alone && !muon) continue;
    const CoordVerdict verdict = judge(
        measure(config, muon_alone, context),
        {.dimension = CoordDimension::width, .kind = config.parametrization.kind, .muon = muon});
    if (!verdict.pass)
      throw GateError(fmt::format(
          "the coordinate check of widths {} to {} fails: {}\n  likely cause: {}\n  what to do: "
          "{}\nlook closer with isoflop coordcheck, or start all the same with --skip coordcheck",
          gate_widths(config).front(), gate_widths(config).back(), verdict.finding, verdict.cause,
          verdict.fix));
  }
  context.note("coordinate check: passed");
  if (kept.empty()) return;
  std::error_code ignored;  // a cache that cannot be written is none
  fs::create_directories(kept.parent_path(), ignored);
  if (!ignored)
    write_file_atomically(kept, config_to_toml(reduced(config, gate_widths(config).back()), {}));
}

}  // namespace isoflop
