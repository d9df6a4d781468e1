#include "datasets/corpus.hpp"

#include "core/error.hpp"
#include "datasets/text_input.hpp"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace isoflop {

namespace fs = std::filesystem;

namespace {

// Files that we do not read as text, by ending or by first bytes, and what to do about them.
struct Refused {
  std::string_view ending, start, what, advice;
};
constexpr Refused kRefused[] = {
    {".bz2", "BZh", "is packed by bzip2", "unpack it first: bunzip2 -k {}"},
    {".zip", "PK\x03\x04", "is an archive", "unpack it first: unzip {}"},
    {".tar", "", "is an archive", "unpack it first: tar -xf {}"},
    {".tgz", "", "is an archive", "unpack it first: tar -xf {}"},
    {".json", "", "holds one JSON value, not JSON lines",
     "convert it first: jq -c '.[]' {} > text.jsonl"},
    {".parquet", "PAR1", "holds a table, not text",
     "convert it first (pip install pyarrow): python3 -c \"import json, sys, pyarrow.parquet as p; "
     "[print(json.dumps(r)) for b in p.ParquetFile(sys.argv[1]).iter_batches(columns=['text']) for "
     "r in b.to_pylist()]\" {} > text.jsonl"},
    {".h5", "soflop1\n", "is an HDF5 file, not text",
     "a token store is used as it is (data.train = [\"{}\"])"},
    {".idx", "MMIDIDX", "holds the index of Megatron's tokens, not text",
     "token files are used as they are (data.train = [\"{}\"])"},
    {".bin", "", "may hold token ids, but has neither llm.c's header nor an .idx beside it",
     "put the header in front: python3 -c \"import numpy as n, sys; t = n.fromfile(sys.argv[1], "
     "'u2'); h = n.zeros(256, 'i4'); h[:3] = 20240520, 1, len(t); open('tokens.bin', "
     "'wb').write(h.tobytes() + t.tobytes())\" {}"},
    {".gguf", "GGUF", "is a model, not text", "name text files instead of {}"},
    {"", "\xff\xfe", "is UTF-16", "convert it first: iconv -f UTF-16 -t UTF-8 {} > text.txt"},
    {"", "\xfe\xff", "is UTF-16", "convert it first: iconv -f UTF-16 -t UTF-8 {} > text.txt"},
};

struct Packed {
  Packing packing;
  std::string_view ending, start;
};
constexpr Packed kPacked[] = {
    {Packing::gzip, ".gz", "\x1f\x8b"},
    {Packing::zstd, ".zst", "\x28\xb5\x2f\xfd"},
    {Packing::xz, ".xz",
     "\xfd"
     "7zXZ"},
};

// zstd's parallel packers put a frame in front that readers skip; sixteen marks are kept for those.
bool starts_skippable_frame(std::string_view bytes) {
  return bytes.size() >= 4 && (bytes[0] & 0xF0) == 0x50 && bytes.substr(1, 3) == "\x2a\x4d\x18";
}

Packing packing_of(const std::string& name, std::string_view start) {
  for (const Packed& kind : kPacked)
    if (start.starts_with(kind.start)) return kind.packing;
  if (starts_skippable_frame(start)) return Packing::zstd;
  for (const Packed& kind : kPacked)
    if (name.ends_with(kind.ending))
      fail_user("{} is named like a packed file, but its first bytes are those of none", name);
  return Packing::none;
}

// Without the ending that says how the file is packed.
std::string unpacked_name(std::string name) {
  for (const Packed& kind : kPacked)
    if (name.ends_with(kind.ending)) name.resize(name.size() - kind.ending.size());
  return name;
}

void refuse_other_kinds(const TextFile& file, std::string_view start) {
  for (const Refused& kind : kRefused) {
    const bool by_ending = !kind.ending.empty() && unpacked_name(file.name).ends_with(kind.ending);
    const bool by_start = !kind.start.empty() && start.starts_with(kind.start);
    if (by_ending || by_start)
      fail_user("{} {}; {}", file.name, kind.what,
                fmt::format(fmt::runtime(kind.advice), file.name));
  }
}

bool is_json_lines_name(const std::string& name) {
  const std::string ending = fs::path(unpacked_name(name)).extension().string();
  return ending == ".jsonl" || ending == ".ndjson";
}

// What a folder is searched for. Tables are not read, but better refused than left out in silence.
bool is_text_name(const std::string& name) {
  const std::string ending = fs::path(unpacked_name(name)).extension().string();
  return ending == ".txt" || ending == ".text" || ending == ".md" || ending == ".parquet" ||
         is_json_lines_name(name);
}

// Text in a file, estimated from how its first part unpacks.
double estimated_text_bytes(const TextFile& file) {
  if (file.packing == Packing::none) return static_cast<double>(file.bytes);
  constexpr uint64_t kEnough = 4 << 20;
  TextInput input(file);
  std::vector<char> buffer(1 << 18);
  uint64_t text = 0;
  while (text < kEnough) {
    const size_t got = input.read(buffer);
    text += got;
    if (got < buffer.size()) return static_cast<double>(text);
  }
  return static_cast<double>(text) * static_cast<double>(file.bytes) /
         static_cast<double>(input.unpacked_bytes());
}

// Copies what cannot be read twice. The copy has no name, so nothing is left behind.
TextFile copy_stream(int from, const std::string& name, const std::atomic<bool>* stop) {
  std::string path = (fs::temp_directory_path() / "isoflop-input-XXXXXX").string();
  const int fd = ::mkostemp(path.data(), O_CLOEXEC);
  const auto fail = [&](const char* what) {
    fail_io("cannot {} a temporary copy of {} in {}: {}; set TMPDIR to a folder with more space",
            what, name, fs::temp_directory_path().string(), std::strerror(errno));
  };
  if (fd < 0) fail("make");
  TextFile file;
  file.name = name;
  file.copied = std::make_shared<OpenText>(fd, name);
  ::unlink(path.c_str());
  std::vector<char> buffer(1 << 18);
  while (true) {
    throw_if_stopped(stop);
    const ssize_t got = ::read(from, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_user("cannot read {}: {}", name, std::strerror(errno));
    if (got == 0) return file;
    for (ssize_t done = 0; done < got;) {
      const ssize_t wrote = ::write(fd, buffer.data() + done, static_cast<size_t>(got - done));
      if (wrote < 0 && errno != EINTR) fail("write");
      if (wrote > 0) done += wrote;
    }
    file.bytes += static_cast<uint64_t>(got);
  }
}

}  // namespace

void throw_if_stopped(const std::atomic<bool>* stop) {
  if (stop && *stop) throw Error(ExitCode::kInterrupted, "stopped on request; nothing was written");
}

OpenText::~OpenText() {
  ::close(fd_);
}

size_t OpenText::read(uint64_t offset, std::span<char> out) const {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got =
        ::pread(fd_, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_user("cannot read {}: {}", name_, std::strerror(errno));
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

std::shared_ptr<const OpenText> TextFile::open() const {
  if (copied) return copied;
  const int fd = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_user("cannot read {}: {}", name, std::strerror(errno));
  return std::make_shared<OpenText>(fd, name);
}

Corpus Corpus::open(const std::vector<std::string>& inputs,
                    const std::atomic<bool>* stop,
                    const std::string& field) {
  if (inputs.empty())
    fail_user("no text was named; give files, folders, globs or - for standard input");
  Corpus corpus;
  corpus.field_ = field;
  for (const std::string& input : inputs) corpus.add(input, stop);
  return corpus;
}

uint64_t Corpus::bytes() const {
  uint64_t sum = 0;
  for (const TextFile& file : files_) sum += file.bytes;
  return sum;
}

double Corpus::text_bytes() const {
  double sum = 0;
  for (const TextFile& file : files_) sum += estimated_text_bytes(file);
  return sum;
}

void Corpus::add(const std::string& input, const std::atomic<bool>* stop) {
  struct stat info = {};
  const bool from_stdin = input == "-";
  if (!from_stdin && ::stat(input.c_str(), &info) != 0) {
    if (errno == ENOENT && input.find_first_of("*?[") != std::string::npos)
      return add_glob(input, stop);
    fail_user("cannot read {}: {}", input, std::strerror(errno));
  }
  if (S_ISDIR(info.st_mode)) return add_folder(input);
  if (S_ISREG(info.st_mode)) {
    if (info.st_size == 0) fail_user("{} is empty", input);
    return add_regular(input);
  }
  const std::string name = from_stdin ? "(standard input)" : input;
  const int fd = from_stdin ? ::dup(STDIN_FILENO) : ::open(input.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail_user("cannot read {}: {}", name, std::strerror(errno));
  const OpenText closes_it(fd, name);
  TextFile file = copy_stream(fd, name, stop);
  if (file.bytes == 0) fail_user("{} is empty", name);
  take(std::move(file), (from_stdin && !field_.empty()) || is_json_lines_name(input));
}

void Corpus::add_regular(const fs::path& path) {
  TextFile file;
  file.name = path.string();
  file.bytes = fs::file_size(path);
  take(std::move(file), is_json_lines_name(path.string()));
}

void Corpus::take(TextFile file, bool json_lines) {
  char start[8] = {};
  const size_t got = file.open()->read(0, start);
  const std::string_view bytes(start, got);
  refuse_other_kinds(file, bytes);
  file.packing = packing_of(file.name, bytes);
  if (json_lines) file.field = field_.empty() ? "text" : field_;
  files_.push_back(std::move(file));
}

void Corpus::add_folder(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::recursive_directory_iterator at(folder, error), end; !error && at != end;
       at.increment(error)) {
    if (at->path().filename().string().starts_with('.')) {
      at.disable_recursion_pending();
      continue;
    }
    if (!at->is_regular_file(error) || at->file_size(error) == 0) continue;
    if (is_text_name(at->path().string())) found.push_back(at->path());
  }
  if (error) fail_user("cannot read folder {}: {}", folder.string(), error.message());
  if (found.empty())
    fail_user("folder {} has no .txt, .text, .md or .jsonl files with text", folder.string());
  std::sort(found.begin(), found.end(),
            [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  for (const fs::path& path : found) add_regular(path);
}

void Corpus::add_glob(const std::string& pattern, const std::atomic<bool>* stop) {
  for (const std::string& path : glob_files(pattern)) add(path, stop);
}

std::vector<std::string> glob_files(const std::string& pattern) {
  glob_t matches = {};
  const int result = ::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &matches);
  std::vector<std::string> paths(matches.gl_pathv,
                                 matches.gl_pathv + (result == 0 ? matches.gl_pathc : 0));
  ::globfree(&matches);
  std::error_code ignored;
  std::erase_if(paths, [&](const std::string& path) {
    return fs::is_regular_file(path, ignored) && fs::file_size(path, ignored) == 0;
  });
  if (paths.empty()) fail_user("no file with text matches {}", pattern);
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace isoflop
