#include "datasets/statistics.hpp"
#include "datasets/token_documents.hpp"
#include "launch/commands/data_verbs.hpp"
#include "launch/describe.hpp"

#include <nlohmann/json.hpp>

#include <memory>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

struct InspectArguments {
  std::vector<std::string> inputs;
  std::string field;
  fs::path tokenizer;
  size_t examples = 3;
  bool verify = false;
};

Json lengths_json(const LengthStatistics& lengths) {
  return {{"mean", lengths.mean()},   {"least", lengths.least}, {"p10", lengths.p10},
          {"median", lengths.median}, {"p90", lengths.p90},     {"p99", lengths.p99},
          {"most", lengths.most}};
}

void print_lengths(const Context& context, const LengthStatistics& lengths, const char* unit) {
  context.print("{:<25} mean {:.1f}, least {}, 10 % {}, median {}, 90 % {}, 99 % {}, most {}",
                fmt::format("{} a document", unit), lengths.mean(), lengths.least, lengths.p10,
                lengths.median, lengths.p90, lengths.p99, lengths.most);
}

/// Bytes that may end within a character, as JSON takes them.
std::string valid_text(const std::string& text) {
  const std::string dumped = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
  return Json::parse(dumped).get<std::string>();
}

/// The tokenizer that a store was made with: the one named, else one that lies with it or with the
/// run it belongs to. Null when there is none.
std::unique_ptr<Tokenizer> find_tokenizer(const InspectArguments& arguments,
                                          const fs::path& store) {
  if (!arguments.tokenizer.empty()) return Tokenizer::load(arguments.tokenizer);
  const fs::path folder = fs::absolute(store).parent_path();
  for (const fs::path& file : {folder / "tokenizer.json", folder.parent_path() / "tokenizer.json"})
    if (fs::exists(file)) {
      auto tokenizer = Tokenizer::load(file);
      if (tokenizer->hash() == TokenStore::open(store)->info().tokenizer_hash) return tokenizer;
    }
  return nullptr;
}

Json inspect_store(const InspectArguments& arguments,
                   const fs::path& path,
                   const Context& context) {
  const auto tokenizer = find_tokenizer(arguments, path);
  const auto store = TokenStore::open(path, arguments.verify, tokenizer.get());
  if (tokenizer && store->info().tokenizer_hash != tokenizer->hash())
    fail_user("{} was not made with the tokenizer {}", path.string(), arguments.tokenizer.string());
  Json description = describe_store(*store, arguments.verify);
  const StoreStatistics statistics = store_statistics(*store, arguments.examples, 60);
  description["documents"] = statistics.tokens.count;
  if (store->info().text_bytes == 0 && tokenizer)
    description["bytes"] = TokenBytes(*tokenizer).of(*store, 0, store->tokens());
  const auto bytes = description["bytes"].get<double>();
  if (bytes > 0) description["bytes_per_token"] = bytes / static_cast<double>(store->tokens());
  description["document_tokens"] = lengths_json(statistics.tokens);
  Json examples = Json::array();
  for (const StoreStatistics::Example& example : statistics.examples) {
    Json object = {{"first_token", example.first_token}, {"ids", example.ids}};
    if (tokenizer) object["text"] = valid_text(tokenizer->decode(example.ids));
    examples.push_back(std::move(object));
  }
  Json shown = description;
  shown.erase("document_tokens");
  print_description(context, shown);
  print_lengths(context, statistics.tokens, "tokens");
  for (const Json& example : examples)
    context.print("  token {}: {}", example["first_token"].get<uint64_t>(),
                  example.contains("text") ? one_line(example["text"]) : example["ids"].dump());
  if (!tokenizer && !examples.empty()) context.note("name its tokenizer (--tokenizer) to see text");
  description["examples"] = examples;
  return description;
}

Json inspect_text(const InspectArguments& arguments, const Context& context) {
  const Corpus corpus = Corpus::open(arguments.inputs, nullptr, arguments.field);
  const CorpusStatistics statistics = corpus_statistics(corpus, arguments.examples, 240);
  std::vector<std::string> examples;
  for (const std::string& example : statistics.examples) examples.push_back(valid_text(example));
  Json files = Json::array();
  for (const TextFile& file : corpus.files())
    files.push_back({{"path", valid_text(file.name)}, {"bytes", file.bytes}});
  Json description = {{"kind", "text"},
                      {"documents", statistics.bytes.count},
                      {"bytes", statistics.bytes.total},
                      {"file_bytes", corpus.bytes()},
                      {"files", files}};
  print_description(context, description);
  print_lengths(context, statistics.bytes, "bytes");
  for (const std::string& example : examples) context.print("  {}", one_line(example));
  description["document_bytes"] = lengths_json(statistics.bytes);
  description["examples"] = examples;
  return description;
}

ExitCode inspect(const InspectArguments& arguments, const Context& context) {
  const fs::path first = find_stores(arguments.inputs[0]).front();
  if (!TokenStore::looks_like_store(first)) {
    context.result(inspect_text(arguments, context));
    return ExitCode::kDone;
  }
  if (arguments.inputs.size() > 1) fail_user("look at one token file at a time");
  context.result(inspect_store(arguments, first, context));
  return ExitCode::kDone;
}

}  // namespace

Action declare_data_inspect(Flags& app, Context& context) {
  auto arguments = std::make_shared<InspectArguments>();
  app.add_option("input", arguments->inputs,
                 "a token store, tokens of llm.c or Megatron-LM, or text: files, folders, globs")
      ->required();
  app.add_option("--tokenizer", arguments->tokenizer, "what decodes the examples");
  app.add_option("--field", arguments->field, "of JSON lines: the field with the text");
  app.add_option("--examples", arguments->examples, "documents whose beginnings are shown")
      ->check(in_range(0, 1000))
      ->capture_default_str();
  app.add_flag("--verify", arguments->verify, "read all tokens and compare the stored hashes");
  return [arguments, &context] { return inspect(*arguments, context); };
}

}  // namespace isoflop
