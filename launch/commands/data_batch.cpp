#include "datasets/sampler.hpp"
#include "datasets/tokenizer/spec.hpp"
#include "launch/commands/data_verbs.hpp"
#include "launch/config_arguments.hpp"
#include "pretrain/config/batch_plan.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/train/prepare.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <memory>

namespace isoflop {

namespace {

struct BatchArguments {
  ConfigArguments words;
  int64_t step = 0;
  fs::path tokenizer;
};

/// The run that the words name, and where its data are: a run file or a run folder.
RunConfig read_run(const ConfigArguments& words, fs::path& folder) {
  const std::vector<std::string> others = words.others();
  const bool is_folder = others.size() == 1 && fs::is_directory(others[0]);
  if (!others.empty() && !is_folder)
    fail_user("{}: not a run.toml, a run folder or key=value", others[0]);
  if (is_folder && words.file()) fail_user("give a run.toml or a run folder, not both");
  if (is_folder) folder = others[0];
  Origins origins;
  const auto file = is_folder ? folder / "config.toml" : words.file();
  RunConfig config = load_config(file, words.overrides(), origins);
  if (config.data.train.empty()) fail_user("data.train is empty; name a run file or a run folder");
  return resolved(std::move(config));
}

/// What decodes the run's tokens: the file named, else the run's own, else what data.tokenizer
/// names. Null when there is none.
std::unique_ptr<Tokenizer> tokenizer_of(const fs::path& named,
                                        const RunConfig& config,
                                        const fs::path& folder) {
  if (!named.empty()) return Tokenizer::load(named);
  if (!folder.empty() && fs::exists(folder / "tokenizer.json"))
    return Tokenizer::load(folder / "tokenizer.json");
  const TokenizerSpec spec = parse_tokenizer_spec(config.data.tokenizer);
  return spec.trained() ? nullptr : Tokenizer::load(spec.file);
}

Sampler open_sampler(const RunConfig& config, const fs::path& folder, const Tokenizer* tokenizer) {
  return Sampler(open_sources(config, folder, tokenizer), config.model.context, config.data.seed);
}

ExitCode batch(const BatchArguments& arguments, const Context& context) {
  fs::path folder;
  const RunConfig config = read_run(arguments.words, folder);
  const auto tokenizer = tokenizer_of(arguments.tokenizer, config, folder);
  const bool with_text = !arguments.tokenizer.empty();
  const int64_t context_tokens = config.model.context;
  const BatchPlan plan = batch_plan(config);
  const int64_t sequences = plan.sequences_at(arguments.step);
  const auto first = static_cast<uint64_t>(plan.first_sequence(arguments.step));
  const Sampler sampler = open_sampler(config, folder, tokenizer.get());
  std::vector<int32_t> ids(static_cast<size_t>(context_tokens) + 1);
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (int64_t i = 0; i < sequences; ++i) {
    const uint64_t index = first + static_cast<uint64_t>(i);
    const WindowRef window = sampler.window(index);
    sampler.read(index, ids);
    const std::string path = sampler.store(window).path().string();
    const std::string& source = sampler.sources()[static_cast<size_t>(window.source)].name;
    context.print("sequence {} (slot {}): {}{} tokens {}-{}, epoch {}", i,
                  i * config.schedule.slots / sequences,
                  source.empty() || source == path ? "" : source + ": ", path, window.first_token,
                  window.first_token + ids.size() - 1, window.epoch);
    nlohmann::ordered_json row = {{"store", path},
                                  {"first_token", window.first_token},
                                  {"epoch", window.epoch},
                                  {"slot", i * config.schedule.slots / sequences},
                                  {"ids", ids}};
    if (!source.empty()) row["source"] = source;
    if (with_text) {
      row["text"] = tokenizer->decode(ids);
      context.print("{}\n", row["text"].get<std::string>());
    }
    if (context.json) rows.push_back(std::move(row));
  }
  context.result({{"step", arguments.step}, {"context", context_tokens}, {"sequences", rows}});
  return ExitCode::kDone;
}

struct MixArguments {
  ConfigArguments words;
  uint64_t sequences = 0;
};

/// Sequences of the whole run.
uint64_t planned_sequences(RunConfig config, const Sampler& sampler) {
  if (!config.schedule.budget.empty())
    fail_user("the run's length is a time, so its sequences are not known; give --sequences N");
  if (config.model.vocabulary == 0)
    config.model.vocabulary = sampler.sources()[0].stores[0]->info().vocabulary;
  const int64_t steps = planned_steps(config, parameter_count(make_param_table(config.model)));
  return static_cast<uint64_t>(batch_plan(config).first_sequence(steps));
}

/// Largest difference between a source's share of 10,000 sequences in a row and its weight, as part
/// of the whole; at up to a thousand places of the run.
double worst_share_error(const Sampler& sampler, int source, uint64_t sequences) {
  constexpr uint64_t kLook = 10'000;
  const uint64_t look = std::min(kLook, sequences);
  const uint64_t stride = std::max<uint64_t>(1, (sequences - look) / 1000);
  double worst = 0;
  for (uint64_t first = 0; first + look <= sequences; first += stride) {
    const auto drawn =
        static_cast<double>(sampler.drawn(source, first + look) - sampler.drawn(source, first));
    worst = std::max(worst, std::abs(drawn / static_cast<double>(look) - sampler.share(source)));
  }
  return worst;
}

ExitCode mix(const MixArguments& arguments, const Context& context) {
  fs::path folder;
  const RunConfig config = read_run(arguments.words, folder);
  const auto tokenizer = tokenizer_of({}, config, folder);
  const Sampler sampler = open_sampler(config, folder, tokenizer.get());
  const uint64_t sequences =
      arguments.sequences > 0 ? arguments.sequences : planned_sequences(config, sampler);
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  double worst = 0;
  context.print("{:>8} {:>8} {:>10} {:>12} {:>12}  {}", "share", "drawn", "epochs", "sequences",
                "an epoch", "source");
  for (size_t i = 0; i < sampler.sources().size(); ++i) {
    const int source = static_cast<int>(i);
    const uint64_t drawn = sampler.drawn(source, sequences);
    const double epochs = static_cast<double>(drawn) / static_cast<double>(sampler.windows(source));
    const double part = static_cast<double>(drawn) / static_cast<double>(sequences);
    const std::string& name = sampler.sources()[i].name;
    worst = std::max(worst, worst_share_error(sampler, source, sequences));
    context.print("{:>7.2f}% {:>7.2f}% {:>10.3f} {:>12} {:>12}  {}", 100 * sampler.share(source),
                  100 * part, epochs, drawn, sampler.windows(source),
                  name.empty() ? "all of data.train" : name);
    rows.push_back({{"source", name},
                    {"share", sampler.share(source)},
                    {"drawn", part},
                    {"sequences", drawn},
                    {"sequences_per_epoch", sampler.windows(source)},
                    {"epochs", epochs}});
  }
  context.print(
      "within any 10,000 sequences in a row, shares differ by up to {:.3f} % of the whole",
      100 * worst);
  context.result({{"sequences", sequences}, {"worst_share_error", worst}, {"sources", rows}});
  if (worst > 0.01 && sequences >= 10'000)
    throw GateError("shares differ by more than 1 %; this is a bug worth reporting");
  return ExitCode::kDone;
}

}  // namespace

Action declare_data_batch(Flags& app, Context& context) {
  auto arguments = std::make_shared<BatchArguments>();
  app.add_option("run", arguments->words.words, "run.toml with key=value changes, or a run folder")
      ->required();
  app.add_option("--preset", arguments->words.preset, "start from a named shape");
  app.add_option("--step", arguments->step, "steps count from 0")
      ->check(in_range(int64_t{0}, int64_t{1} << 53))
      ->capture_default_str();
  app.add_option("--tokenizer", arguments->tokenizer, "show the text as well");
  return [arguments, &context] { return batch(*arguments, context); };
}

Action declare_data_mix(Flags& app, Context& context) {
  auto arguments = std::make_shared<MixArguments>();
  app.add_option("run", arguments->words.words, "run.toml with key=value changes, or a run folder")
      ->required();
  app.add_option("--preset", arguments->words.preset, "start from a named shape");
  app.add_option("--sequences", arguments->sequences, "look at this many; 0 = the whole run")
      ->check(in_range(uint64_t{0}, uint64_t{1} << 53));
  return [arguments, &context] { return mix(*arguments, context); };
}

}  // namespace isoflop
