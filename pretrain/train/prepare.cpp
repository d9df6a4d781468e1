#include "pretrain/train/prepare.hpp"

#include "datasets/build.hpp"
#include "datasets/corpus.hpp"
#include "datasets/sampler.hpp"
#include "datasets/text_reader.hpp"
#include "datasets/token_documents.hpp"
#include "datasets/tokenizer/spec.hpp"
#include "datasets/tokenizer/trainer.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/parametrized.hpp"
#include "report/humanize.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

namespace isoflop {

namespace {

bool all_stores(const std::vector<std::string>& paths, const char* key) {
  const auto stores = std::count_if(paths.begin(), paths.end(), [](const std::string& p) {
    return TokenStore::looks_like_store(find_stores(p).front());
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

void require_tokenizer_of(const Tokenizer& tokenizer, const TokenStores& stores) {
  for (const auto& store : stores)
    if (store->info().tokenizer_hash != tokenizer.hash())
      fail_user(
          "{} was not built with the tokenizer of this run; build it again with that tokenizer: "
          "isoflop "
          "data build --tokenizer FILE",
          store->path().string());
}

/// The stores behind one path or glob.
void open_stores(const std::string& path, const Tokenizer* tokenizer, TokenStores& stores) {
  for (const fs::path& file : find_stores(path)) {
    stores.push_back(TokenStore::open(file, false, tokenizer));
    if (stores.back()->info().format == TokenFormat::megatron && !tokenizer)
      fail_user(
          "{} does not say how many tokens its vocabulary has; set data.tokenizer to the tokenizer "
          "it was made with",
          file.string());
  }
}

/// Foreign files have no hashes, so their ids are looked at once.
void check_foreign(const TokenStores& stores, const PrepareOptions& options) {
  for (const auto& store : stores) {
    if (store->info().format == TokenFormat::ours || options.reuse) continue;
    say(options, fmt::format("{}: checking {} tokens", store->path().string(),
                             human_count(static_cast<double>(store->tokens()))));
    store->check_ids();
  }
}

bool is_weighted(const std::vector<DataEntry>& entries) {
  return !entries.empty() && entries[0].weight != 0;
}

/// What becomes one source: all entries together, or each by its weight.
struct Part {
  SampledSource source;
  std::vector<std::string> paths;
  fs::path train, valid;  // of text: where its stores are built
};

std::vector<Part> parts_of(const RunConfig& config, const fs::path& folder) {
  const std::vector<DataEntry>& entries = config.data.train;
  const fs::path data = folder / "data";
  if (!is_weighted(entries))
    return {{{"", 1, {}}, paths_of(entries), data / "train.h5", data / "valid.h5"}};
  std::vector<Part> parts;
  for (const DataEntry& entry : entries) {
    const std::string ending = fmt::format("-{}.h5", parts.size());
    parts.push_back({{entry.path, entry.weight, {}},
                     {entry.path},
                     data / ("train" + ending),
                     data / ("valid" + ending)});
  }
  return parts;
}

/// Whether an earlier launch built the stores; the text itself is then not needed any more.
bool is_built(const Run& run, const std::vector<Part>& parts, const PrepareOptions& options) {
  return options.reuse && fs::exists(run.folder / "tokenizer.json") &&
         std::all_of(parts.begin(), parts.end(),
                     [](const Part& part) { return fs::exists(part.train); });
}

/// Text: learn or load the tokenizer, then build the stores of each part in RUN/data, and those of
/// its held-back text.
void build_from_text(Run& run, std::vector<Part> parts, const PrepareOptions& options) {
  const DataConfig& data = run.config.data;
  const bool holds_back = data.valid.empty() && data.valid_fraction > 0;
  const bool built = is_built(run, parts, options);
  const TokenizerSpec spec = parse_tokenizer_spec(data.tokenizer);
  if (built)
    run.tokenizer = Tokenizer::load(run.folder / "tokenizer.json");
  else if (spec.trained())
    run.tokenizer = train_tokenizer(
        spec, Corpus::open(paths_of(data.train), options.stop, data.field), options);
  else
    run.tokenizer = Tokenizer::load(spec.file);
  fs::create_directories(run.folder / "data");
  if (holds_back) run.valid.push_back({});
  for (Part& part : parts) {
    if (!built) {
      BuildOptions build_options;
      build_options.out = part.train;
      build_options.valid_out = holds_back ? part.valid : fs::path();
      build_options.valid_fraction = data.valid_fraction;
      build_options.split = parse_split(data.split);
      build(Corpus::open(part.paths, options.stop, data.field), *run.tokenizer, build_options,
            options);
    }
    part.source.stores = {TokenStore::open(part.train)};
    run.train.push_back(std::move(part.source));
    if (holds_back) run.valid[0].stores.push_back(TokenStore::open(part.valid));
  }
}

void prepare_training(Run& run, const PrepareOptions& options) {
  const DataConfig& data = run.config.data;
  std::vector<Part> parts = parts_of(run.config, run.folder);
  if (is_built(run, parts, options) || !all_stores(paths_of(data.train), "data.train"))
    return build_from_text(run, std::move(parts), options);
  const TokenizerSpec spec = parse_tokenizer_spec(data.tokenizer);
  if (!spec.trained()) run.tokenizer = Tokenizer::load(spec.file);
  run.train = open_sources(run.config, run.folder, run.tokenizer.get());
  for (const SampledSource& source : run.train) check_foreign(source.stores, options);
}

/// The stores of one set, built from text if that is what it names.
TokenStores prepare_set(const Run& run,
                        const std::string& name,
                        const std::vector<std::string>& paths,
                        const PrepareOptions& options) {
  const fs::path out =
      run.folder / "data" / (name.empty() ? "valid.h5" : fmt::format("valid-{}.h5", name));
  if (options.reuse && fs::exists(out)) return {TokenStore::open(out)};
  TokenStores stores;
  if (all_stores(paths, "data.valid")) {
    for (const std::string& path : paths) open_stores(path, run.tokenizer.get(), stores);
    check_foreign(stores, options);
    return stores;
  }
  if (!run.tokenizer)
    fail_user(
        "data.valid is text, but the token stores of data.train came without a tokenizer; set "
        "data.tokenizer to the file they were built with");
  fs::create_directories(out.parent_path());
  BuildOptions build_options;
  build_options.out = out;
  return {build(Corpus::open(paths, options.stop, run.config.data.field), *run.tokenizer,
                build_options, options)};
}

void prepare_validation(Run& run, const PrepareOptions& options) {
  std::vector<std::string> names;
  for (const DataEntry& entry : run.config.data.valid)
    if (std::find(names.begin(), names.end(), entry.name) == names.end())
      names.push_back(entry.name);
  // Entries without a name make the main set.
  std::stable_partition(names.begin(), names.end(),
                        [](const std::string& name) { return name.empty(); });
  for (const std::string& name : names) {
    std::vector<std::string> paths;
    for (const DataEntry& entry : run.config.data.valid)
      if (entry.name == name) paths.push_back(entry.path);
    run.valid.push_back({name, prepare_set(run, name, paths, options), 0, {}, {}});
  }
}

/// Bytes that the scored tokens of a set stand for.
double scored_bytes(const ValidSet& set, const Tokenizer* tokenizer) {
  double bytes = 0;
  for (const auto& store : set.stores) {
    if (store->info().text_bytes > 0)
      bytes += static_cast<double>(store->info().text_bytes);
    else if (tokenizer)
      bytes += static_cast<double>(TokenBytes(*tokenizer).of(*store, 0, store->tokens()));
    else
      return 0;
  }
  return bytes;
}

void check_validation(Run& run) {
  for (ValidSet& set : run.valid) {
    for (const auto& store : set.stores)
      if (store->tokens() < 2)
        fail_user("{} has {} tokens; validation needs at least two, to predict one from the other",
                  store->path().string(), store->tokens());
    set.text_bytes = scored_bytes(set, run.tokenizer.get());
    std::vector<std::string> prefixes;
    if (&set == &run.valid.front()) prefixes.push_back("valid/");
    if (!set.name.empty()) prefixes.push_back("valid/" + set.name + "/");
    for (const std::string& prefix : prefixes) {
      set.loss_names.push_back(prefix + "loss");
      set.bits_names.push_back(prefix + "bits_per_byte");
    }
  }
}

int vocabulary_of(const Run& run) {
  return run.tokenizer ? run.tokenizer->vocabulary()
                       : run.train.front().stores.front()->info().vocabulary;
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
  run.table = make_parametrized_table(run.config);
  run.batch = batch_plan(run.config);
  run.schedule = schedule_of(run.config, parameter_count(run.table));
  if (run.config.eval.every == 0)
    run.config.eval.every = std::max<int64_t>(1, run.schedule.steps / 20);
}

}  // namespace

Run prepare_run(RunConfig config, Origins origins, const PrepareOptions& options) {
  Run run;
  run.config = std::move(config);
  run.origins = std::move(origins);
  run.folder = options.folder;
  prepare_training(run, options);
  prepare_validation(run, options);
  if (run.tokenizer) {
    for (const SampledSource& source : run.train)
      require_tokenizer_of(*run.tokenizer, source.stores);
    for (const ValidSet& set : run.valid) require_tokenizer_of(*run.tokenizer, set.stores);
    if (options.writes)
      write_file_atomically(run.folder / "tokenizer.json", run.tokenizer->to_json());
  }
  check_validation(run);
  settle(run, vocabulary_of(run));
  Sampler(run.train, run.config.model.context,
          run.config.data.seed);  // refuses text shorter than a window
  return run;
}

Run open_run(RunConfig config, Origins origins, const fs::path& folder) {
  Run run;
  run.config = std::move(config);
  run.origins = std::move(origins);
  run.folder = folder;
  if (fs::exists(folder / "tokenizer.json"))
    run.tokenizer = Tokenizer::load(folder / "tokenizer.json");
  run.train = open_sources(run.config, folder, run.tokenizer.get());
  settle(run, vocabulary_of(run));
  return run;
}

std::vector<SampledSource> open_sources(const RunConfig& config,
                                        const fs::path& folder,
                                        const Tokenizer* tokenizer) {
  const bool are_stores = all_stores(paths_of(config.data.train), "data.train");
  std::vector<SampledSource> sources;
  for (Part& part : parts_of(config, folder)) {
    if (are_stores)
      for (const std::string& path : part.paths) open_stores(path, tokenizer, part.source.stores);
    else if (fs::exists(part.train))
      part.source.stores = {TokenStore::open(part.train)};
    else
      fail_user(
          "data.train names no token store, and {} has none built from its text; build one with "
          "isoflop data build, or name the folder of a run that has",
          folder.empty() ? "no run folder" : folder.string());
    sources.push_back(std::move(part.source));
  }
  return sources;
}

Run plan_run(RunConfig config, Origins origins, const fs::path& folder) {
  Run run;
  run.config = std::move(config);
  run.origins = std::move(origins);
  run.folder = folder;
  int vocabulary = static_cast<int>(run.config.model.vocabulary);
  if (all_stores(paths_of(run.config.data.train), "data.train")) {
    const TokenizerSpec spec = parse_tokenizer_spec(run.config.data.tokenizer);
    if (!spec.trained()) run.tokenizer = Tokenizer::load(spec.file);
    run.train = open_sources(run.config, folder, run.tokenizer.get());
    vocabulary = vocabulary_of(run);
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
          train_tokenizer(
              spec, Corpus::open(paths_of(run.config.data.train), nullptr, run.config.data.field),
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
    for (const fs::path& file : find_stores(path)) {
      const auto store = TokenStore::open(file);
      const auto known = static_cast<double>(store->info().text_bytes);
      bytes += known > 0 ? known : 4 * static_cast<double>(store->tokens());
    }
  return bytes;
}

}  // namespace isoflop
