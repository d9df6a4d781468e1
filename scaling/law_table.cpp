#include "core/error.hpp"
#include "core/file.hpp"
#include "core/json.hpp"
#include "pretrain/config/nearest.hpp"
#include "scaling/law.hpp"

#include <cmath>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

/// Of Hoffmann et al.'s 240 runs about the refit: its objective, 0.00101827, is 240 delta (mean |r|
/// - delta / 2), and of a normal error the mean size is 0.8 deviations. Muennighoff et al. print
/// nothing of the kind; the same is taken.
constexpr double kChinchillaResidual = 0.006;

LossLaw parametric(const char* name,
                   const char* source,
                   const LawTerms& terms,
                   double flops_low,
                   double flops_high) {
  LossLaw law;
  law.name = name;
  law.source = source;
  law.terms = terms;
  law.residual = kChinchillaResidual;
  law.flops_low = flops_low;
  law.flops_high = flops_high;
  return law;
}

/// Ranges are those of the runs: 70M to 16B parameters in Hoffmann et al. and so in its
/// replication.
std::vector<LossLaw> make_laws() {
  std::vector<LossLaw> laws = {
      parametric("hoffmann", "Hoffmann et al. 2022, equation 10, coefficients as printed",
                 {1.69, 406.4, 410.7, 0.34, 0.28}, 6e18, 3e21),
      parametric("hoffmann-full", "Hoffmann et al. 2022, coefficients in the source of the paper",
                 {1.69337, 406.401, 410.7228, 0.33917084, 0.2849083}, 6e18, 3e21),
      parametric("epoch", "Besiroglu et al. 2024, a refit of Hoffmann et al.'s runs",
                 {1.8172, 482.01, 2085.43, 0.3478, 0.3658}, 6e18, 3e21),
      parametric(
          "muennighoff", "Muennighoff et al. 2023, C4, repeated data",
          {std::exp(0.6254804), std::exp(6.255414), std::exp(7.3049974), 0.3526596, 0.3526596},
          1e18, 3e21),
  };
  laws.back().counts = ParameterCount::all;  // GPT-2 models, tied
  laws.back().repeats = true;
  LossLaw cerebras;
  cerebras.name = "cerebras";
  cerebras.source =
      "Dey et al. 2023, equation 1: Cerebras-GPT on the Pile, 20 tokens per parameter";
  cerebras.counts = ParameterCount::all;
  cerebras.flops_low = 2.6e18;
  cerebras.flops_high = 2.3e22;
  cerebras.power = {5.984e22, -0.0737, 0.5066};
  cerebras.residual = 0.0066;  // deviation of the SP models from it, ibid.
  laws.push_back(cerebras);
  return laws;
}

const std::vector<LossLaw>& laws() {
  static const std::vector<LossLaw> table = make_laws();
  return table;
}

Json json_of(const LawTerms& t) {
  return {{"E", t.E}, {"A", t.A}, {"B", t.B}, {"alpha", t.alpha}, {"beta", t.beta}};
}

double number_at(const Json& json, const char* key, const std::string& origin) {
  if (!json.is_object() || !json.contains(key) || !json[key].is_number())
    fail_format("{}: a law needs the number \"{}\"; write the file by isoflop fit --out", origin,
                key);
  return json[key].get<double>();
}

std::string text_at(const Json& json, const char* key, const std::string& origin) {
  if (!json.contains(key) || !json[key].is_string())
    fail_format("{}: a law needs the text \"{}\"; write the file by isoflop fit --out", origin,
                key);
  return json[key].get<std::string>();
}

LawTerms terms_of(const Json& json, const std::string& origin) {
  const LawTerms t = {number_at(json, "E", origin), number_at(json, "A", origin),
                      number_at(json, "B", origin), number_at(json, "alpha", origin),
                      number_at(json, "beta", origin)};
  if (!(t.E >= 0 && t.A > 0 && t.B > 0 && t.alpha > 0 && t.beta > 0))
    fail_format("{}: of a law, A, B, alpha and beta are more than 0 and E is at least 0", origin);
  return t;
}

}  // namespace

std::vector<std::string> law_names() {
  std::vector<std::string> names;
  for (const LossLaw& law : laws()) names.push_back(law.name);
  return names;
}

LossLaw find_law(const std::string& name) {
  for (const LossLaw& law : laws())
    if (law.name == name) return law;
  if (fs::is_regular_file(name)) return law_from_json(read_file(name), name);
  const std::string nearest = nearest_word(name, law_names());
  fail_user(
      "--law {}: neither a file that isoflop fit --out wrote nor one of hoffmann, "
      "hoffmann-full, epoch, muennighoff and cerebras{}",
      name, nearest.empty() ? "" : "; did you mean " + nearest + "?");
}

std::string law_to_json(const LossLaw& law) {
  Json json = {{"isoflop_law", 1},           {"name", law.name},
               {"source", law.source},       {"counts", name_of(law.counts)},
               {"flops_low", law.flops_low}, {"flops_high", law.flops_high},
               {"residual", law.residual},   {"law", json_of(law.terms)},
               {"resampled", Json::array()}};
  for (const LawTerms& terms : law.resampled) json["resampled"].push_back(json_of(terms));
  return json.dump(1) + "\n";
}

LossLaw law_from_json(const std::string& text, const std::string& origin) {
  constexpr size_t kMostResampled = 100000;
  const Json json = parse_json<Json>(text, origin);
  if (number_at(json, "isoflop_law", origin) != 1)
    fail_format("{}: a law of another version; this program reads version 1", origin);
  LossLaw law;
  law.name = origin;
  law.source = text_at(json, "source", origin);
  law.counts = parse_parameter_count(text_at(json, "counts", origin));
  law.flops_low = number_at(json, "flops_low", origin);
  law.flops_high = number_at(json, "flops_high", origin);
  law.residual = number_at(json, "residual", origin);
  law.terms = terms_of(json.contains("law") ? json["law"] : Json(), origin);
  if (!json.contains("resampled")) return law;
  if (!json["resampled"].is_array() || json["resampled"].size() > kMostResampled)
    fail_format("{}: \"resampled\" is a list of up to {} laws", origin, kMostResampled);
  for (const Json& one : json["resampled"]) law.resampled.push_back(terms_of(one, origin));
  return law;
}

}  // namespace isoflop
