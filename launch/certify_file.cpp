#include "launch/certify_file.hpp"

#include "datasets/corpus.hpp"
#include "export/certificate.hpp"
#include "export/runtimes.hpp"

namespace isoflop {

void declare_certify_options(Flags& app, CertifyOptions& options, const Flag* needs) {
  Flag* const flags[] = {
      app.add_option(
          "--text", options.text,
          "text to compare on; else the run's validation store, or what the model writes"),
      app.add_option("--tokens", options.tokens, "how many tokens of it")->capture_default_str(),
      app.add_option("--for", options.programs,
                     "also check the rules of gpt4all, ollama or llama.cpp")};
  if (needs)
    for (Flag* flag : flags) flag->needs(needs);
}

void check_certify_options(const CertifyOptions& options) {
  if (options.tokens < 1) fail_user("--tokens {}: at least one token is compared", options.tokens);
  for (const std::string& text : options.text)  // a pipe can be read once only
    if (text != "-" && !fs::is_fifo(text) && !fs::is_character_file(text)) Corpus::open({text});
  for (const std::string& name : options.programs) find_runtime(name);
}

namespace {

/// A Modelfile of the user's own is left alone.
void write_modelfile(const fs::path& file, const GgufFile& gguf, const Context& context) {
  const fs::path path = modelfile_path(file);
  const std::string content = modelfile(file, gguf);
  if (!fs::exists(path)) {
    write_file_atomically(path, content);
  } else if (read_file(path) != content) {
    context.note("{} is there already and was left as it is", path.string());
  }
}

}  // namespace

CertifiedFile certify_file(const fs::path& file,
                           const fs::path& name,
                           const fs::path& source,
                           const CertifyOptions& options,
                           Machine& machine,
                           const Context& context) {
  std::vector<const Runtime*> programs;
  for (const std::string& program : options.programs) programs.push_back(&find_runtime(program));

  Certificate certificate =
      certify({.file = file, .source = source, .text = options.text, .tokens = options.tokens},
              *machine.backend, machine.team);
  const GgufFile gguf(file);
  for (const Runtime* program : programs) {
    const RuntimeFindings findings = program->check(gguf);
    for (const std::string& problem : findings.problems)
      certificate.failures.push_back(fmt::format("{}: {}", program->name, problem));
    for (const std::string& note : findings.notes) context.note("{}: {}", program->name, note);
    if (findings.problems.empty()) context.note("{}: its rules are kept", program->name);
  }
  if (certificate.pass()) {
    certificate.file = name;
    if (file != name) commit_file(file, name);
  }
  for (const std::string& line : certificate_table(certificate)) context.print("{}", line);
  CertifiedFile result{certificate.pass(), to_json(certificate)};
  const fs::path path = certificate_path(certificate.file);
  write_file_atomically(
      path,
      result.json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n");
  result.json["certificate"] = path.string();
  if (!certificate.pass()) {
    for (const std::string& failure : certificate.failures) context.print("  failed: {}", failure);
    return result;
  }
  write_modelfile(name, gguf, context);
  for (const std::string& line : how_to_run(name, gguf)) context.print("{}", line);
  return result;
}

}  // namespace isoflop
