#include "core/sha256.hpp"
#include "export/certificate.hpp"
#include "launch/certify_file.hpp"
#include "launch/commands.hpp"
#include "launch/machine.hpp"

#include <nlohmann/json.hpp>

#include <memory>

namespace isoflop {

namespace {

struct Options {
  std::string file;
  std::string against;
  CertifyOptions certify;
  int threads = 0;
};

/// The source that the file's own certificate names; a note where anything has changed since.
std::string earlier_source(const Options& options, const Context& context) {
  const EarlierCertificate earlier = read_certificate(options.file);
  if (sha256_file(options.file) != earlier.file_sha256)
    throw GateError(fmt::format("{} is not the file that {} is about: its sha256 is another",
                                options.file, certificate_path(options.file).string()));
  if (!fs::exists(earlier.source))
    fail_user("{} is gone, of which {} was made; name its place with --against M",
              earlier.source.string(), options.file);
  context.note("against {}, as its certificate says", earlier.source.string());
  return earlier.source.string();
}

ExitCode run(const Options& options, const Context& context) {
  if (!fs::is_regular_file(options.file)) fail_user("there is no file {}", options.file);
  check_certify_options(options.certify);
  const std::string source =
      options.against.empty() ? earlier_source(options, context) : options.against;
  Machine machine(fp32_on(options.threads));
  const CertifiedFile certified =
      certify_file(options.file, options.file, source, options.certify, machine, context);
  context.result(certified.json);
  return certified.pass ? ExitCode::kDone : ExitCode::kGate;
}

Action declare(Flags& app, Context& context) {
  auto options = std::make_shared<Options>();
  app.add_option("file", options->file, "the GGUF file")->required();
  app.add_option(
      "--against", options->against,
      "what it was made of: run folder, checkpoint or any model; else its certificate says");
  declare_certify_options(app, options->certify);
  app.add_threads(options->threads);
  return [options, &context] { return run(*options, context); };
}

}  // namespace

Command certify_command() {
  return {
      "certify", "prove that a file is the model it was made of",
      "isoflop certify first.gguf --against runs/first\n  isoflop certify first.gguf --for ollama",
      declare};
}

}  // namespace isoflop
