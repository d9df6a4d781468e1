// A certificate: the proof that a file is the model it was made of (docs/export.md). The file is
// read back from disk as a stranger would, and its weights, dequantized to fp32, are compared with
// the source on text neither was fitted to: distributions, ids, hashes.
#pragma once
#include "eval/compare.hpp"
#include "export/certificate_limits.hpp"
#include "export/tokenizer_check.hpp"

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>
#include <vector>

namespace isoflop {

struct CertifyJob {
  fs::path file;                  // GGUF
  fs::path source;                // run folder, checkpoint or any file we read
  std::vector<std::string> text;  // to compare on; empty: see held_out.hpp
  int64_t tokens = 4096;
  bool as_runtimes = true;  // also measure with activations rounded to 8 bits
};

struct Certificate {
  fs::path file;
  uint64_t file_bytes = 0;
  std::string file_sha256;
  std::string source;         // as opened: a run folder's checkpoint
  std::string source_hashed;  // the file that source_sha256 is of
  std::string source_sha256;
  std::string type;      // Q4_0: the coarsest of its matrices
  bool on_grid = false;  // the source was trained on this type's grid: it is judged as F32 is
  bool chat = false;     // has a chat template; otherwise it is a base model
  std::string text;      // what it was compared on
  double noise = 0;      // of a runtime's logits; excuses greedy mismatches
  CertificateLimits limits;
  Comparison weights;                 // fp32 on the dequantized weights
  std::optional<Comparison> runtime;  // 8-bit activations times blocks; reported, not judged
  TokenizerCheck tokenizer;
  std::vector<std::string> failures;  // one sentence each

  bool pass() const { return failures.empty(); }
};

/// Reads both, compares, judges. UserError or FormatError when either cannot be read, or they are
/// not of one shape. Memory: a block and the activations of a window, then both heads and the
/// hidden states of the text (eval/reading.hpp).
Certificate certify(const CertifyJob& job, Backend& backend, ThreadTeam& team);

/// What certificate.json holds.
nlohmann::ordered_json to_json(const Certificate& certificate);
/// Lines of a table for people.
std::vector<std::string> certificate_table(const Certificate& certificate);
/// Beside the file: model.gguf -> model.certificate.json
fs::path certificate_path(const fs::path& file);

/// The source named by a certificate, and whether `file` still has the hash it had then. UserError
/// when there is none beside the file or it cannot be read.
struct EarlierCertificate {
  fs::path source;
  std::string file_sha256;
  std::string source_sha256;
};
EarlierCertificate read_certificate(const fs::path& file);

}  // namespace isoflop
