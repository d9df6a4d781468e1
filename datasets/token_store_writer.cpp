#include "core/error.hpp"
#include "datasets/token_store_layout.hpp"
#include "formats/hdf5.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace isoflop {

using namespace token_store_layout;

namespace {

// A contiguous dataset cannot grow, and how many tokens come is known only at the end. So they wait
// in a file without a name, which the system removes whatever becomes of us.
class Spool {
 public:
  explicit Spool(const fs::path& path) : name_(path.string()) {
    fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd_ < 0 || ::unlink(path.c_str()) != 0) fail("cannot create");
    pending_.reserve(kBlockBytes);
  }
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;
  ~Spool() {
    if (fd_ >= 0) ::close(fd_);
  }

  void append(const void* data, size_t bytes) {
    const char* from = static_cast<const char*>(data);
    while (bytes > 0) {
      const size_t piece = std::min<size_t>(bytes, kBlockBytes - pending_.size());
      pending_.append(from, piece);
      from += piece;
      bytes -= piece;
      if (pending_.size() == kBlockBytes) flush();
    }
  }
  void flush() {
    for (std::string_view left = pending_; !left.empty();) {
      fault_point("write");
      const ssize_t wrote = ::write(fd_, left.data(), left.size());
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) fail("cannot write");
      left.remove_prefix(static_cast<size_t>(wrote));
    }
    pending_.clear();
  }
  void read(uint64_t offset, std::span<std::byte> out) const {
    while (!out.empty()) {
      const ssize_t got = ::pread(fd_, out.data(), out.size(), static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) fail("cannot read back");
      out = out.subspan(static_cast<size_t>(got));
      offset += static_cast<uint64_t>(got);
    }
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    fail_io("{} {}: {}", what, name_, std::strerror(errno));
  }
  std::string name_;
  int fd_ = -1;
  std::string pending_;
};

}  // namespace

struct TokenStoreWriter::State {
  explicit State(const fs::path& store_path)
      : path(store_path),
        temporary(temporary_name(store_path)),
        spool(temporary_name(store_path.string() + ".tokens")) {}

  template <class T>
  void append(std::span<const int32_t> tokens) {
    std::vector<T> narrow_tokens;
    narrow_tokens.reserve(tokens.size());
    for (const int32_t token : tokens) {
      ISOFLOP_CHECK(token >= 0 && token < info.vocabulary, "token {} of a vocabulary of {}", token,
                    info.vocabulary);
      narrow_tokens.push_back(static_cast<T>(token));
    }
    spool.append(narrow_tokens.data(), narrow_tokens.size() * sizeof(T));
    info.tokens += narrow_tokens.size();
  }

  template <class T>
  std::vector<uint64_t> copy_tokens(hdf5::File& file) {
    std::vector<uint64_t> hashes;
    std::vector<T> block(kBlockBytes / sizeof(T));
    for (uint64_t first = 0; first < info.tokens; first += block.size()) {
      const std::span<T> part =
          std::span(block).first(std::min<uint64_t>(block.size(), info.tokens - first));
      spool.read(first * sizeof(T), std::as_writable_bytes(part));
      hashes.push_back(hash_bytes(part.data(), part.size_bytes()));
      file.write_rows<T>(kTokens, first, part);
    }
    return hashes;
  }

  fs::path path, temporary;
  TokenStoreInfo info;
  std::vector<uint64_t> offsets{0};
  Spool spool;
};

TokenStoreWriter::TokenStoreWriter(const std::filesystem::path& path,
                                   int vocabulary,
                                   int separator,
                                   uint64_t tokenizer_hash)
    : state_(std::make_unique<State>(path)) {
  ISOFLOP_CHECK(vocabulary > 0 && separator >= -1 && separator < vocabulary,
                "vocabulary {}, separator {}", vocabulary, separator);
  state_->info.vocabulary = vocabulary;
  state_->info.separator = separator;
  state_->info.tokenizer_hash = tokenizer_hash;
  state_->info.token_bytes = vocabulary <= 1 << 16 ? 2 : 4;
}

TokenStoreWriter::~TokenStoreWriter() {
  if (state_) ::unlink(state_->temporary.c_str());
}

void TokenStoreWriter::append(std::span<const int32_t> tokens) {
  ISOFLOP_CHECK(state_, "the store is finished");
  if (state_->info.token_bytes == 2)
    state_->append<uint16_t>(tokens);
  else
    state_->append<uint32_t>(tokens);
}

void TokenStoreWriter::end_document(uint64_t text_bytes) {
  ISOFLOP_CHECK(state_, "the store is finished");
  TokenStoreInfo& info = state_->info;
  if (info.row_tokens > 0)
    ISOFLOP_CHECK(info.tokens == (info.documents + 1) * info.row_tokens, "rows of {} tokens",
                  info.row_tokens);
  else if (info.separator >= 0)
    append(std::span(&info.separator, 1));
  state_->offsets.push_back(info.tokens);
  info.documents += 1;
  info.text_bytes += text_bytes;
}

void TokenStoreWriter::add_document(std::span<const int32_t> tokens, uint64_t text_bytes) {
  append(tokens);
  end_document(text_bytes);
}

void TokenStoreWriter::add_source(const TokenSource& source) {
  state_->info.sources.push_back(source);
}

void TokenStoreWriter::set_row_tokens(uint64_t tokens) {
  ISOFLOP_CHECK(state_ && state_->info.tokens == 0, "the store has tokens already");
  state_->info.row_tokens = tokens;
}

TokenStoreInfo TokenStoreWriter::finish() {
  ISOFLOP_CHECK(state_, "the store is finished");
  State& state = *state_;
  TokenStoreInfo& info = state.info;
  state.spool.flush();
  hdf5::File file = hdf5::File::create(state.temporary, kSealBytes);
  const bool narrow_tokens = info.token_bytes == 2;
  file.create_dataset(kTokens, narrow_tokens ? hdf5::Type::u16 : hdf5::Type::u32,
                      std::vector<uint64_t>{info.tokens});
  const std::vector<uint64_t> hashes =
      narrow_tokens ? state.copy_tokens<uint16_t>(file) : state.copy_tokens<uint32_t>(file);
  const std::string sources = sources_to_json(info.sources);
  file.write_dataset<uint64_t>(kOffsets, std::vector<uint64_t>{state.offsets.size()},
                               state.offsets);
  file.write_dataset<uint64_t>(kHashes, std::vector<uint64_t>{hashes.size()}, hashes);
  file.write_text(kSources, sources);
  file.set_attribute("/", kVersionAttribute, kVersion);
  file.set_attribute("/", kVocabularyAttribute, static_cast<uint64_t>(info.vocabulary));
  file.set_attribute("/", kSeparatorAttribute, int64_t{info.separator});
  file.set_attribute("/", kTokenizerAttribute, info.tokenizer_hash);
  file.set_attribute("/", kTextBytesAttribute, info.text_bytes);
  if (info.row_tokens > 0) file.set_attribute("/", kRowAttribute, info.row_tokens);
  file.close();
  const auto offset = hdf5::File::open(state.temporary).info(kTokens).offset;
  write_seal(state.temporary, offset.value_or(kSealBytes),
             info.tokens * static_cast<uint64_t>(info.token_bytes));
  commit_file(state.temporary, state.path);
  const TokenStoreInfo result = info;
  state_.reset();
  return result;
}

}  // namespace isoflop
