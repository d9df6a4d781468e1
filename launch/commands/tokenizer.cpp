#include "datasets/corpus.hpp"
#include "datasets/text_reader.hpp"
#include "datasets/tokenizer/trainer.hpp"
#include "launch/commands.hpp"
#include "launch/context.hpp"
#include "launch/describe.hpp"
#include "report/humanize.hpp"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <charconv>
#include <chrono>
#include <memory>

namespace isoflop {

namespace {

struct TrainOptions {
  TokenizerTraining training;
  std::string kind = "bpe";
  std::vector<std::string> special;
  fs::path out;
  std::vector<std::string> inputs;
};

struct ImportOptions {
  fs::path source;
  fs::path out;
};

struct CodeOptions {
  fs::path tokenizer;
  std::string text;
  fs::path file;
  bool special = false;
  std::vector<std::string> ids;
  const Flag* text_given = nullptr;
};

ExitCode train(TrainOptions& options, const Context& context) {
  const auto start = std::chrono::steady_clock::now();
  TokenizerTraining& training = options.training;
  if (options.kind == "bytes") training.kind = Tokenizer::Kind::bytes;
  if (options.kind == "chars") training.kind = Tokenizer::Kind::chars;
  if (!options.special.empty()) training.special_tokens = options.special;
  require_writable_directory(options.out.has_parent_path() ? options.out.parent_path() : ".");
  TokenizerTrainer trainer(training);
  const Corpus corpus = Corpus::open(options.inputs);
  context.note("reading {} of text", human_bytes(static_cast<double>(corpus.bytes())));
  for_each_document(corpus, [&](std::string_view text) { trainer.add(text); });
  const auto tokenizer = trainer.finish();
  write_file_atomically(options.out, tokenizer->to_json());

  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  nlohmann::ordered_json result = describe_file(options.out, false);
  context.print("{}: {} tokens ({} merges), {}", options.out.string(), tokenizer->vocabulary(),
                tokenizer->merges().size(), human_duration(seconds.count()));
  const bool short_of_merges =
      training.kind == Tokenizer::Kind::bpe && tokenizer->vocabulary() < training.vocabulary;
  if (short_of_merges) {
    context.note("the text has nothing more to merge: {} tokens instead of {}",
                 tokenizer->vocabulary(), training.vocabulary);
  }
  result["file"] = options.out.string();
  result["text_bytes"] = corpus.bytes();
  result["seconds"] = seconds.count();
  context.result(result);
  return ExitCode::kDone;
}

/// Any tokenizer as the tokenizer.json that we and Hugging Face's library read.
ExitCode import(const ImportOptions& options, const Context& context) {
  const auto tokenizer = Tokenizer::load(options.source);
  require_writable_directory(options.out.has_parent_path() ? options.out.parent_path() : ".");
  write_file_atomically(options.out, tokenizer->to_json());
  nlohmann::ordered_json description = describe_tokenizer(options.out);
  description["file"] = options.out.string();
  description["from"] = options.source.string();
  context.print("{}: {} tokens from {}", options.out.string(), tokenizer->vocabulary(),
                options.source.string());
  context.result(description);
  return ExitCode::kDone;
}

ExitCode encode(const CodeOptions& options, const Context& context) {
  const auto tokenizer = Tokenizer::load(options.tokenizer);
  const bool given = options.text_given->given();
  const std::string text = given                  ? options.text
                           : options.file.empty() ? read_stdin()
                                                  : read_file(options.file);
  std::vector<int32_t> ids;
  tokenizer->encode(text, ids, options.special);
  context.print("{}", fmt::join(ids, " "));
  context.result({{"ids", ids}, {"tokens", ids.size()}, {"bytes", text.size()}});
  return ExitCode::kDone;
}

/// Numbers separated by blanks, commas or brackets, so that the output of `encode` with or without
/// --json's list can be piped in.
std::vector<int32_t> parse_ids(const std::string& text, int vocabulary) {
  std::vector<int32_t> ids;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at < end) {
    if (std::string_view(" \t\r\n,[]").find(*at) != std::string_view::npos) {
      ++at;
      continue;
    }
    int32_t id = 0;
    const auto [stop, error] = std::from_chars(at, end, id);
    if (error != std::errc()) {
      fail_user("\"{}\" at byte {} is not a token id", std::string(at, std::min(at + 12, end)),
                at - text.data());
    }
    if (id < 0 || id >= vocabulary) {
      fail_user("id {} is not in the vocabulary: ids run from 0 to {}", id, vocabulary - 1);
    }
    ids.push_back(id);
    at = stop;
  }
  return ids;
}

ExitCode decode(const CodeOptions& options, const Context& context) {
  const auto tokenizer = Tokenizer::load(options.tokenizer);
  std::string input = fmt::format("{}", fmt::join(options.ids, " "));
  if (options.ids.empty()) input = options.file.empty() ? read_stdin() : read_file(options.file);
  const std::vector<int32_t> ids = parse_ids(input, tokenizer->vocabulary());
  std::string text = tokenizer->decode(ids);
  // The space that SentencePiece put before the text is none of it.
  if (tokenizer->rules().space_prefix && !text.empty() && text[0] == ' ') text.erase(0, 1);
  context.print_raw(text);
  context.result({{"text", text}, {"tokens", ids.size()}});
  return ExitCode::kDone;
}

constexpr char kTokenizerFiles[] =
    "tokenizer.json, SentencePiece's tokenizer.model, GPT-2's files, a folder with one of these, a "
    "GGUF file, or llama2.c's tokenizer.bin";

void add_tokenizer_flag(Flags& app, CodeOptions& options) {
  app.add_option("--tokenizer", options.tokenizer, kTokenizerFiles)->required();
}

Action declare_train(Flags& app, Context& context) {
  auto options = std::make_shared<TrainOptions>();
  app.add_option("--out", options->out, "the tokenizer.json to write")->required();
  app.add_option("--vocab", options->training.vocabulary,
                 "tokens in all, specials and bytes included (bpe)")
      ->capture_default_str();
  app.add_option("--kind", options->kind, "bpe, bytes, or the characters of the text")
      ->check(one_of({"bpe", "bytes", "chars"}))
      ->capture_default_str();
  app.add_option(
         "--special", options->special,
         "special token, may be repeated; the first separates documents; default <|endoftext|>")
      ->expected(1)
      ->take_all();
  app.add_option("--threads", options->training.threads, "0 = all cores; the result is the same")
      ->check(in_range(0, 4096));
  app.add_option("input", options->inputs, "text files, folders, globs, or - for standard input")
      ->required();
  return [options, &context] { return train(*options, context); };
}

Action declare_import(Flags& app, Context& context) {
  auto options = std::make_shared<ImportOptions>();
  app.add_option("tokenizer", options->source, kTokenizerFiles)->required();
  app.add_option("--out", options->out, "the tokenizer.json to write")->required();
  return [options, &context] { return import(*options, context); };
}

Action declare_encode(Flags& app, Context& context) {
  auto options = std::make_shared<CodeOptions>();
  add_tokenizer_flag(app, *options);
  Flag* text = app.add_option("--text", options->text, "the text itself");
  app.add_option("--file", options->file, "a file; without --text and --file: standard input")
      ->excludes(text);
  app.add_flag("--special", options->special, "recognize the texts of special tokens");
  options->text_given = text;
  return [options, &context] { return encode(*options, context); };
}

Action declare_decode(Flags& app, Context& context) {
  auto options = std::make_shared<CodeOptions>();
  add_tokenizer_flag(app, *options);
  Flag* ids =
      app.add_option("ids", options->ids, "token ids; without them --file or standard input");
  app.add_option("--file", options->file, "a file of ids")->excludes(ids);
  return [options, &context] { return decode(*options, context); };
}

Action declare_inspect(Flags& app, Context& context) {
  auto file = std::make_shared<fs::path>();
  app.add_option("file", *file, kTokenizerFiles)->required();
  return [file, &context] {
    const nlohmann::ordered_json description = describe_tokenizer(*file);
    print_description(context, description);
    context.result(description);
    return ExitCode::kDone;
  };
}

}  // namespace

std::vector<Command> tokenizer_commands() {
  return {{"tokenizer train", "learn a tokenizer from text",
           "isoflop tokenizer train --vocab 8192 --out tokenizer.json books/*.txt", declare_train},
          {"tokenizer import", "any tokenizer as a tokenizer.json that gives the same ids",
           "isoflop tokenizer import tokenizer.model --out tokenizer.json", declare_import},
          {"tokenizer encode", "text to token ids",
           "isoflop tokenizer encode --tokenizer tokenizer.json --text \"Once upon a time\"",
           declare_encode},
          {"tokenizer decode", "token ids to text",
           "isoflop tokenizer decode --tokenizer tokenizer.json 7454 2402 257 640", declare_decode},
          {"tokenizer inspect", "kind, size, splitting rule and special tokens",
           "isoflop tokenizer inspect tokenizer.json", declare_inspect}};
}

}  // namespace isoflop
