// What `export` and `certify` do alike with a file that is there: certify it, leave the certificate
// and a Modelfile beside it, and say how to run it.
#pragma once
#include "core/file.hpp"
#include "launch/context.hpp"
#include "launch/flags.hpp"
#include "launch/machine.hpp"

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

namespace isoflop {

struct CertifyOptions {
  std::vector<std::string> text;
  int64_t tokens = 4096;
  std::vector<std::string> programs;  // --for
};
/// `needs`: another flag without which these make no sense.
void declare_certify_options(Flags& app, CertifyOptions& options, const Flag* needs = nullptr);
/// Before any work: UserError for a --for that names no program, texts that are not there, --tokens
/// below 1.
void check_certify_options(const CertifyOptions& options);

struct CertifiedFile {
  bool pass = false;
  nlohmann::ordered_json json;  // what is in the certificate's file, and `certificate`, its path
};
/// With options that check_certify_options lets pass. `file` may still have another name than
/// `name`, under which it is to be known: it gets that name when it passes, and keeps its own when
/// it fails.
CertifiedFile certify_file(const fs::path& file,
                           const fs::path& name,
                           const fs::path& source,
                           const CertifyOptions& options,
                           Machine& machine,
                           const Context& context);

}  // namespace isoflop
