#include "export/verify.hpp"

#include "core/error.hpp"
#include "core/rng.hpp"
#include "pretrain/model/model.hpp"

#include <algorithm>
#include <cmath>
#include <string_view>

namespace isoflop {

namespace {

/// A block's activations in the order they are computed; which exist depends on the architecture.
constexpr std::string_view kSteps[] = {"x", "n1", "qkv", "att", "h", "n2", "gate", "up", "act"};

std::vector<float> values_of(View view, int64_t rows) {
  std::vector<float> values;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < view.cols; ++c)
      values.push_back(static_cast<float>(load_scalar(view, r, c)));
  return values;
}

std::vector<int32_t> random_tokens(int64_t count, int64_t vocabulary) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i) {
    const double u = uniform01(1, rng_stream(RngUse::probe, 0), static_cast<uint64_t>(i));
    tokens.push_back(static_cast<int32_t>(u * static_cast<double>(vocabulary)));
  }
  return tokens;
}

}  // namespace

ModelTrace trace_model(const ModelConfig& config,
                       const ParamTable& table,
                       const ParamBuffer& parameters,
                       Backend& backend,
                       int64_t tokens) {
  const int64_t n = std::min(tokens, config.context);
  const std::vector<int32_t> ids = random_tokens(n, config.vocabulary);
  // As for training: then every layer keeps its activations, and the plan says where.
  Model model(config, table, parameters, backend, {.tokens = n, .recompute = Recompute::none});
  model.evaluate({1, n, ids, ids});
  ModelTrace trace;
  const std::vector<ActivationPlan::Row>& rows = model.plan().rows();
  for (int64_t layer = 0; layer < config.layers; ++layer)
    for (const std::string_view step : kSteps)
      for (size_t row = 0; row < rows.size(); ++row)
        if (rows[row].name == step)
          trace.steps.emplace_back(fmt::format("blocks.{}.{}", layer, step),
                                   values_of(model.plan().view(row, layer), n));
  std::vector<float> logits;
  KvCache cache(config, backend);
  for (const int32_t id : ids) {
    const std::vector<float> of_token = values_of(model.decode({&id, 1}, cache), 1);
    logits.insert(logits.end(), of_token.begin(), of_token.end());
  }
  trace.steps.emplace_back("logits", std::move(logits));
  return trace;
}

TraceComparison compare_traces(const ModelTrace& a,
                               const ModelTrace& b,
                               const ModelConfig& model,
                               double tolerance) {
  ISOFLOP_CHECK(a.steps.size() == b.steps.size(), "traces of {} and {} steps", a.steps.size(),
                b.steps.size());
  TraceComparison result;
  for (size_t i = 0; i < a.steps.size(); ++i) {
    const auto& [name, want] = a.steps[i];
    const std::vector<float>& got = b.steps[i].second;
    ISOFLOP_CHECK(name == b.steps[i].first && want.size() == got.size(), "{} is not {}", name,
                  b.steps[i].first);
    if (model.attention_multiplier != 1 && name.ends_with(".qkv")) continue;
    double largest = 0, difference = 0;
    for (size_t k = 0; k < want.size(); ++k) {
      largest = std::max(largest, std::fabs(double{want[k]}));
      const double apart = std::fabs(double{want[k]} - double{got[k]});
      difference = std::isnan(apart) ? INFINITY : std::max(difference, apart);
    }
    if (name == "logits") result.logit_difference = difference;
    if (result.first.empty() && difference > tolerance * largest) {
      result.first = name;
      result.error = largest > 0 ? difference / largest : INFINITY;
    }
  }
  return result;
}

double trace_tolerance(DType dtype) {
  return dtype == DType::f32 ? 1e-4 : 10 * (dtype == DType::f16 ? 0x1p-11 : 0x1p-8);
}

}  // namespace isoflop
