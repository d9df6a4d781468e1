#include "datasets/corpus.hpp"

#include "core/error.hpp"

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

// Files that are not plain text, by ending or by first bytes, and what to do about them.
struct Refused {
  std::string_view ending, start, what, advice;
};
constexpr Refused kRefused[] = {
    {".zst", "\x28\xb5\x2f\xfd", "is compressed", "unpack it first: zstd -d {}"},
    {".gz", "\x1f\x8b", "is compressed", "unpack it first: gunzip -k {}"},
    {".xz",
     "\xfd"
     "7zXZ",
     "is compressed", "unpack it first: xz -dk {}"},
    {".bz2", "BZh", "is compressed", "unpack it first: bunzip2 -k {}"},
    {".zip", "PK\x03\x04", "is an archive", "unpack it first: unzip {}"},
    {".jsonl", "", "holds JSON lines, not text",
     "convert it first: jq -r '.text, \"<|endoftext|>\"' {} > text.txt"},
    {".parquet", "PAR1", "holds a table, not text",
     "write its text column to a .txt file first ({})"},
    {".h5", "soflop1\n", "is an HDF5 file, not text",
     "a token store is used as it is (data.train = [\"{}\"])"},
    {".gguf", "GGUF", "is a model, not text", "name text files instead of {}"},
    {"", "\xff\xfe", "is UTF-16", "convert it first: iconv -f UTF-16 -t UTF-8 {} > text.txt"},
    {"", "\xfe\xff", "is UTF-16", "convert it first: iconv -f UTF-16 -t UTF-8 {} > text.txt"},
};

void refuse_other_kinds(const TextFile& file) {
  char start[8] = {};
  const size_t got = file.open()->read(0, start);
  const std::string_view bytes(start, got);
  for (const Refused& kind : kRefused) {
    const bool by_ending = !kind.ending.empty() && file.name.ends_with(kind.ending);
    const bool by_start = !kind.start.empty() && bytes.starts_with(kind.start);
    if (by_ending || by_start)
      fail_user("{} {}; {}", file.name, kind.what,
                fmt::format(fmt::runtime(kind.advice), file.name));
  }
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
  TextFile file{name, 0, std::make_shared<OpenText>(fd, name)};
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

bool is_text_name(const fs::path& path) {
  const std::string ending = path.extension().string();
  return ending == ".txt" || ending == ".text" || ending == ".md";
}

// Files of a folder that we would want but cannot read: better refused than left out in silence.
bool is_packed_text_name(const fs::path& path) {
  const std::string ending = path.extension().string();
  return ending == ".zst" || ending == ".gz" || ending == ".xz" || ending == ".jsonl";
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

Corpus Corpus::open(const std::vector<std::string>& inputs, const std::atomic<bool>* stop) {
  if (inputs.empty())
    fail_user("no text was named; give files, folders, globs or - for standard input");
  Corpus corpus;
  for (const std::string& input : inputs) corpus.add(input, stop);
  return corpus;
}

uint64_t Corpus::bytes() const {
  uint64_t sum = 0;
  for (const TextFile& file : files_) sum += file.bytes;
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
  refuse_other_kinds(file);
  files_.push_back(std::move(file));
}

void Corpus::add_regular(const fs::path& path) {
  TextFile file{path.string(), fs::file_size(path), nullptr};
  refuse_other_kinds(file);
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
    if (is_text_name(at->path()) || is_packed_text_name(at->path())) found.push_back(at->path());
  }
  if (error) fail_user("cannot read folder {}: {}", folder.string(), error.message());
  if (found.empty())
    fail_user("folder {} has no .txt, .text or .md files with text", folder.string());
  std::sort(found.begin(), found.end(),
            [](const fs::path& a, const fs::path& b) { return a.native() < b.native(); });
  for (const fs::path& path : found) add_regular(path);
}

void Corpus::add_glob(const std::string& pattern, const std::atomic<bool>* stop) {
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
  for (const std::string& path : paths) add(path, stop);
}

}  // namespace isoflop
