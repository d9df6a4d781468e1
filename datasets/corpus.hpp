// Corpus: what the user named as text, resolved to a list of files before any work starts.
//
// An input is a text file, a file of JSON lines (.jsonl, .ndjson), a folder (its .txt, .text, .md,
// .jsonl and .ndjson files, all levels, hidden ones left out), a glob ("books/*.txt"), or "-" for
// the standard input. Each file may be packed by gzip, zstd or xz, which its first bytes tell; it
// is unpacked whenever it is read. Folders and globs are taken in byte order of their paths, so the
// order does not depend on the machine; their empty files are passed over. What cannot be read
// twice (standard input, a pipe) is first copied to a temporary file without a name, so every
// corpus has a size and can be passed over several times.
#pragma once
#include <atomic>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace isoflop {

/// An open file read at any offset, from any thread.
class OpenText {
 public:
  OpenText(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  OpenText(const OpenText&) = delete;
  OpenText& operator=(const OpenText&) = delete;
  ~OpenText();
  /// Bytes read, fewer than asked for only at the end. UserError when the file cannot be read.
  size_t read(uint64_t offset, std::span<char> out) const;

 private:
  int fd_;
  std::string name_;
};

enum class Packing { none, gzip, zstd, xz };

struct TextFile {
  std::string name;    // as messages and token stores show it
  uint64_t bytes = 0;  // of the file, packed as it may be
  std::shared_ptr<const OpenText>
      copied;  // of an input without a path; all copies of this share it
  Packing packing = Packing::none;
  std::string field;  // of JSON lines: the one that holds the text; empty for plain text

  std::shared_ptr<const OpenText> open() const;
};

class Corpus {
 public:
  /// UserError naming the input when it is missing, unreadable, empty, matches nothing, or is of a
  /// kind we do not read (archives, tables, binary), with the command that would turn it into text.
  /// `stop` interrupts the copying of the standard input (Error with ExitCode::kInterrupted).
  /// `field` holds the text in JSON lines ("text" when empty); the standard input is taken for JSON
  /// lines when it is given.
  static Corpus open(const std::vector<std::string>& inputs,
                     const std::atomic<bool>* stop = nullptr,
                     const std::string& field = "");

  const std::vector<TextFile>& files() const { return files_; }
  uint64_t bytes() const;  // of the files, packed as they are: what progress is counted in
  /// Bytes of text, unpacked; of packed files estimated from how their beginnings unpack.
  double text_bytes() const;

 private:
  void add(const std::string& input, const std::atomic<bool>* stop);
  void add_folder(const std::filesystem::path& folder);
  void add_glob(const std::string& pattern, const std::atomic<bool>* stop);
  void add_regular(const std::filesystem::path& path);
  void take(TextFile file, bool json_lines);

  std::string field_;
  std::vector<TextFile> files_;
};

/// Paths that match, in byte order, empty files left out. UserError when there is none.
std::vector<std::string> glob_files(const std::string& pattern);

/// Throws Error(ExitCode::kInterrupted) when `stop` is set.
void throw_if_stopped(const std::atomic<bool>* stop);

}  // namespace isoflop
