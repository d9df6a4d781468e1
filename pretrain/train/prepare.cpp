#include "pretrain/train/prepare.hpp"

#include "datasets/build.hpp"
#include "datasets/corpus.hpp"
#include "datasets/sampler.hpp"
#include "datasets/text_reader.hpp"
#include "datasets/tokenizer/spec.hpp"
#include "datasets/tokenizer/trainer.hpp"
#include "pretrain/config/resolve.hpp"
#include "report/humanize.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace isoflop {

namespace {

using Stores = std::vector<std::shared_ptr<const TokenStore>>;

bool all_stores(const std::vector<std::string>& paths, const char* key) {
  const auto stores = std::count_if(paths.begin(), paths.end(), [](const std::string& p) {
    return TokenStore::looks_like_store(p);
  });
  if (stores > 0 && stores < static_cast<std::ptrdiff_t>(paths.size()))
    fail_user(
        "{} mixes token stores and text; build a store from the text first: isoflop data build",
        key);
  return stores > 0;
}

void say(const PrepareOptions& options, const std::string& text) {
  if (options.note) options.note(text);
}

/// Says how far a long pass over text is, every few seconds.
class PassProgress {
 public:
  PassProgress(std::string what, const std::function<void(const std::string&)>& note)
      : what_(std::move(what)), note_(note) {}
  void operator()(const BuildProgress& p) {
    if (!note_ || p.seconds - last_ < 3) return;
    last_ = p.seconds;
    note_(fmt::format(
        "{}: {} of {} bytes, eta {}", what_, human_bytes(static_cast<double>(p.bytes_done)),
        human_bytes(static_cast<double>(p.bytes_total)), human_duration(p.seconds_left)));
  }

 private:
  std::string what_;
  const std::function<void(const std::string&)>& note_;
  double last_ = 0;
};

std::shared_ptr<const Tokenizer> train_tokenizer(const TokenizerSpec& spec,
                                                 const Corpus& corpus,
                                                 const PrepareOptions& options) {
  say(options, fmt::format("learning the tokenizer from {} bytes of text",
                           human_bytes(static_cast<double>(corpus.bytes()))));
  TokenizerTraining training;
  training.kind = spec.kind;
  training.vocabulary = spec.vocabulary;
  training.threads = options.threads;
  TokenizerTrainer trainer(training);
  for_each_document(corpus, [&](std::string_view text) {
    throw_if_stopped(options.stop);
    trainer.add(text);
  });
  return trainer.finish();
}

std::shared_ptr<const TokenStore> build(const Corpus& corpus,
                                        const Tokenizer& tokenizer,
                                        BuildOptions build_options,
                                        const PrepareOptions& options) {
  PassProgress progress("tokenizing", options.note);
  build_options.overwrite = true;
  build_options.threads = options.threads;
  build_options.stop = options.stop;
  build_options.progress = [&](const BuildProgress& p) { progress(p); };
  const BuildReport report = build_stores(corpus, tokenizer, build_options);
  say(options,
      fmt::format(
          "{}: {} tokens in {} documents, {:.2f} bytes per token", build_options.out.string(),
          human_count(static_cast<double>(report.train.tokens)), report.train.documents,
          static_cast<double>(report.train.bytes) / static_cast<double>(report.train.tokens)));
  return TokenStore::open(build_options.out);
}

void require_tokenizer_of(const Tokenizer& tokenizer, const Stores& stores) {
  for (const auto& store : stores)
    if (store->info().tokenizer_hash != tokenizer.hash())
      fail_user(
          "{} was not built with the tokenizer of this run; build it again with that tokenizer: "
          "isoflop "
          "data build --tokenizer FILE",
          store->path().string());
}

/// Stores that exist already: only the tokenizer has to be found and compared.
void open_stores(Run& run) {
  const DataConfig& data = run.config.data;
  for (const std::string& path : data.train) run.train.push_back(TokenStore::open(path));
  const TokenizerSpec spec = parse_tokenizer_spec(data.tokenizer);
  if (!spec.trained()) run.tokenizer = Tokenizer::load(spec.file);
}

/// Text: learn or load the tokenizer, then build RUN/data/train.h5 (and valid.h5 from its held-back
/// part).
void build_from_text(Run& run, const PrepareOptions& options) {
  const DataConfig& data = run.config.data;
  const fs::path tokenizer_file = run.folder / "tokenizer.json";
  const fs::path train = run.folder / "data" / "train.h5", valid = run.folder / "data" / "valid.h5";
  const bool holds_back = data.valid.empty() && data.valid_fraction > 0;
  if (options.reuse && fs::exists(tokenizer_file) && fs::exists(train)) {
    run.tokenizer = Tokenizer::load(tokenizer_file);
    run.train = {TokenStore::open(train)};
    if (holds_back) run.valid = {TokenStore::open(valid)};
    return;
  }
  const Corpus corpus = Corpus::open(data.train, options.stop, data.field);
  const TokenizerSpec spec = parse_tokenizer_spec(data.tokenizer);
  run.tokenizer = spec.trained() ? train_tokenizer(spec, corpus, options)
                                 : std::shared_ptr<const Tokenizer>(Tokenizer::load(spec.file));
  fs::create_directories(run.folder / "data");
  BuildOptions build_options;
  build_options.out = train;
  build_options.valid_out = holds_back ? valid : fs::path();
  build_options.valid_fraction = data.valid_fraction;
  build_options.split = parse_split(data.split);
  run.train = {build(corpus, *run.tokenizer, build_options, options)};
  if (holds_back) run.valid = {TokenStore::open(valid)};
}

void prepare_validation(Run& run, const PrepareOptions& options) {
  const DataConfig& data = run.config.data;
  if (data.valid.empty()) return;
  if (all_stores(data.valid, "data.valid")) {
    for (const std::string& path : data.valid) run.valid.push_back(TokenStore::open(path));
    return;
  }
  if (!run.tokenizer)
    fail_user(
        "data.valid is text, but the token stores of data.train came without a tokenizer; set "
        "data.tokenizer to the file they were built with");
  const fs::path out = run.folder / "data" / "valid.h5";
  fs::create_directories(out.parent_path());
  if (options.reuse && fs::exists(out)) {
    run.valid = {TokenStore::open(out)};
    return;
  }
  BuildOptions build_options;
  build_options.out = out;
  run.valid = {build(Corpus::open(data.valid, options.stop, data.field), *run.tokenizer,
                     build_options, options)};
}

/// Everything that follows from the config once the vocabulary is known.
void settle(Run& run, int vocabulary) {
  ModelConfig& model = run.config.model;
  if (model.vocabulary == 0) model.vocabulary = vocabulary;
  if (model.vocabulary < vocabulary)
    fail_user(
        "model.vocabulary = {} is smaller than the tokenizer's {} tokens; leave it auto, or raise "
        "it",
        model.vocabulary, vocabulary);
  if (model.document_mask && model.separator < 0) {
    if (!run.tokenizer || run.tokenizer->separator() < 0)
      fail_user(
          "model.document_mask needs the id of the token between documents, and this data came "
          "without a tokenizer that has one; set model.separator");
    model.separator = run.tokenizer->separator();
  }
  run.config = resolved(run.config);
  run.table = make_param_table(model);
  run.batch = batch_plan(run.config);
  const int64_t steps = planned_steps(run.config.schedule, parameter_count(run.table));
  run.schedule = make_schedule(run.config.schedule, run.config.optimizer.lr, steps);
  if (run.config.eval.every == 0) run.config.eval.every = std::max<int64_t>(1, steps / 20);
}

}  // namespace

BatchPlan batch_plan(const RunConfig& config) {
  const ScheduleConfig& s = config.schedule;
  const int64_t context = config.model.context;
  return {.slots = s.slots,
          .micro_batches = s.batch_tokens / (s.slots * s.micro_batch * context),
          .micro_batch = s.micro_batch,
          .context = context};
}

Run prepare_run(RunConfig config, Origins origins, const PrepareOptions& options) {
  Run run;
  run.config = std::move(config);
  run.origins = std::move(origins);
  run.folder = options.folder;
  if (all_stores(run.config.data.train, "data.train"))
    open_stores(run);
  else
    build_from_text(run, options);
  prepare_validation(run, options);
  if (run.tokenizer) {
    require_tokenizer_of(*run.tokenizer, run.train);
    require_tokenizer_of(*run.tokenizer, run.valid);
    write_file_atomically(run.folder / "tokenizer.json", run.tokenizer->to_json());
  }
  for (const auto& store : run.valid)
    if (store->tokens() < 2)
      fail_user("{} has {} tokens; validation needs at least two, to predict one from the other",
                store->path().string(), store->tokens());
  settle(run, run.tokenizer ? run.tokenizer->vocabulary() : run.train.front()->info().vocabulary);
  Sampler(run.train, run.config.model.context,
          run.config.data.seed);  // refuses text shorter than a window
  return run;
}

Run open_run(RunConfig config, Origins origins, const fs::path& folder) {
  Run run;
  run.config = std::move(config);
  run.origins = std::move(origins);
  run.folder = folder;
  const fs::path built = folder / "data" / "train.h5";
  if (fs::exists(built)) {
    run.train = {TokenStore::open(built)};
  } else if (all_stores(run.config.data.train, "data.train")) {
    open_stores(run);
  } else {
    fail_user("{} is gone, and with it the data of the run", built.string());
  }
  settle(run, run.train.front()->info().vocabulary);
  return run;
}

Run plan_run(RunConfig config, Origins origins, const fs::path& folder) {
  Run run;
  run.config = std::move(config);
  run.origins = std::move(origins);
  run.folder = folder;
  int vocabulary = static_cast<int>(run.config.model.vocabulary);
  if (all_stores(run.config.data.train, "data.train")) {
    open_stores(run);
    vocabulary = run.train.front()->info().vocabulary;
  } else if (vocabulary == 0) {
    const TokenizerSpec spec = parse_tokenizer_spec(run.config.data.tokenizer);
    if (!spec.trained())
      vocabulary = Tokenizer::load(spec.file)->vocabulary();
    else if (spec.kind == Tokenizer::Kind::bpe)
      vocabulary = spec.vocabulary;
    else if (spec.kind == Tokenizer::Kind::bytes)
      vocabulary = 257;
    else  // only the text can tell how many characters it has
      vocabulary =
          train_tokenizer(spec, Corpus::open(run.config.data.train, nullptr, run.config.data.field),
                          {})
              ->vocabulary();
  }
  settle(run, vocabulary);
  return run;
}

double text_bytes(const std::vector<std::string>& paths) {
  if (std::find(paths.begin(), paths.end(), "-") != paths.end()) return 0;
  if (!all_stores(paths, "data.train")) return Corpus::open(paths).text_bytes();
  double bytes = 0;
  for (const std::string& path : paths)
    bytes += static_cast<double>(TokenStore::open(path)->info().text_bytes);
  return bytes;
}

}  // namespace isoflop
