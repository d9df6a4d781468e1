#include "datasets/foreign_tokens.hpp"

#include "core/error.hpp"
#include "core/hash.hpp"
#include "core/math.hpp"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>

namespace isoflop {

namespace {

constexpr std::string_view kMegatronMagic("MMIDIDX\0\0", 9);
constexpr uint64_t kLlmcHeader = 256 * sizeof(int32_t);

struct LlmcKind {
  uint32_t magic, version;
  int token_bytes, vocabulary, separator;
};
constexpr LlmcKind kLlmcKinds[] = {{20240520, 1, 2, 50257, 50256},
                                   {20240801, 7, 4, 128256, 128000}};

const LlmcKind* llmc_kind(uint32_t magic) {
  for (const LlmcKind& kind : kLlmcKinds)
    if (kind.magic == magic) return &kind;
  return nullptr;
}

template <class T>
T number_at(const MappedFile& file, uint64_t offset) {
  T value;
  std::memcpy(&value, file.data() + offset, sizeof(value));
  return value;
}

std::string first_bytes(const std::filesystem::path& path, size_t count) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) return {};
  std::string bytes(count, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(bytes.data(), static_cast<std::streamsize>(count));
  bytes.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return bytes;
}

// X.idx and X.bin of X.idx, X.bin or X.
std::filesystem::path megatron_part(const std::filesystem::path& path, const char* ending) {
  std::filesystem::path stem = path;
  if (path.extension() == ".bin" || path.extension() == ".idx") stem.replace_extension();
  return stem.string() + ending;
}

// A change of a file that keeps its size would have to keep all of these blocks, too.
uint64_t fingerprint_of(const MappedFile& file) {
  constexpr uint64_t kBlock = 64 << 10, kBlocks = 64;
  Hasher hasher;
  const uint64_t size = file.size();
  hasher.update(&size, sizeof(size));
  for (uint64_t i = 0; i < kBlocks; ++i) {
    const uint64_t start = size > kBlock ? (size - kBlock) / (kBlocks - 1) * i : 0;
    hasher.update(file.data() + start, std::min(kBlock, size - start));
    if (size <= kBlock) break;
  }
  if (size > kBlock) hasher.update(file.data() + size - kBlock, kBlock);
  return hasher.digest();
}

// The parts of an index, once its sizes are known to lie within it.
struct MegatronIndex {
  const MappedFile& file;
  uint64_t sequences = 0, entries = 0;
  int token_bytes = 0;

  int32_t length(uint64_t i) const { return number_at<int32_t>(file, kHead + 4 * i); }
  int64_t pointer(uint64_t i) const {
    return number_at<int64_t>(file, kHead + 4 * sequences + 8 * i);
  }
  int64_t first_sequence(uint64_t document) const {
    return number_at<int64_t>(file, kHead + 12 * sequences + 8 * document);
  }
  static constexpr uint64_t kHead = 34;
};

MegatronIndex read_index(const MappedFile& file, const std::string& name) {
  if (file.size() < MegatronIndex::kHead || !file.text().starts_with(kMegatronMagic))
    fail_format("{} is not the index of Megatron's tokens", name);
  const auto version = number_at<uint64_t>(file, 9);
  if (version != 1) fail_format("{}: version is {}, this program reads 1", name, version);
  MegatronIndex index{file, number_at<uint64_t>(file, 18), number_at<uint64_t>(file, 26)};
  const auto code = number_at<uint8_t>(file, 17);
  index.token_bytes = code == 8 ? 2 : code == 4 ? 4 : code == 5 ? 8 : 0;
  if (index.token_bytes == 0)
    fail_format(
        "{}: the type of the tokens has code {}; 8 (uint16), 4 (int32) and 5 (int64) are read",
        name, code);
  uint64_t sequence_bytes = 0, document_bytes = 0, end = 0;
  if (!checked_multiply(index.sequences, 12, sequence_bytes) ||
      !checked_multiply(index.entries, 8, document_bytes) ||
      !checked_add(sequence_bytes, document_bytes, end) ||
      !checked_add(end, MegatronIndex::kHead, end) || end > file.size())
    fail_format(
        "{} has {} bytes, too few for {} sequences and {} documents; it is cut off or damaged",
        name, file.size(), index.sequences, index.entries);
  // One more byte a sequence is its mode, in files for several modalities; we have no use for it.
  if (file.size() != end && file.size() != end + index.sequences)
    fail_format("{} has {} bytes, expected {}; it is damaged", name, file.size(), end);
  if (index.entries == 0) fail_format("{}: the list of documents is empty", name);
  return index;
}

// First token of each document, and the end.
std::vector<uint64_t> document_offsets(const MegatronIndex& index, const std::string& name) {
  std::vector<uint64_t> offsets;
  offsets.reserve(index.entries);
  uint64_t tokens = 0, document = 0;
  for (uint64_t i = 0; i <= index.sequences; ++i) {
    for (; document < index.entries && index.first_sequence(document) == static_cast<int64_t>(i);
         ++document)
      offsets.push_back(tokens);
    if (i == index.sequences) break;
    const int32_t length = index.length(i);
    uint64_t bytes = 0;
    if (length < 0) fail_format("{}: sequence {} has length {}", name, i, length);
    if (!checked_multiply(tokens, static_cast<uint64_t>(index.token_bytes), bytes) ||
        index.pointer(i) != static_cast<int64_t>(bytes))
      fail_format("{}: sequence {} lies at byte {}, expected {}: sequences must follow each other",
                  name, i, index.pointer(i), bytes);
    tokens += static_cast<uint64_t>(length);
  }
  if (document != index.entries || index.first_sequence(0) != 0 || offsets.back() != tokens)
    fail_format("{}: entry {} of the list of documents is not in order from 0 to {}", name,
                std::min(document, index.entries - 1), index.sequences);
  return offsets;
}

}  // namespace

std::optional<TokenFormat> foreign_format(const std::filesystem::path& path) {
  const std::string start = first_bytes(path, sizeof(uint32_t));
  uint32_t magic = 0;
  if (start.size() == sizeof(magic)) std::memcpy(&magic, start.data(), sizeof(magic));
  if (llmc_kind(magic)) return TokenFormat::llmc;
  if (!path.has_filename()) return std::nullopt;
  if (first_bytes(megatron_part(path, ".idx"), kMegatronMagic.size()) == kMegatronMagic)
    return TokenFormat::megatron;
  return std::nullopt;
}

MappedTokens open_llmc(const std::filesystem::path& path) {
  MappedTokens mapped;
  mapped.path = path;
  mapped.file = MappedFile(path);
  const std::string name = path.string();
  if (mapped.file.size() < kLlmcHeader)
    fail_format("{} has {} bytes, fewer than llm.c's header; it is cut off", name,
                mapped.file.size());
  const LlmcKind* const kind = llmc_kind(number_at<uint32_t>(mapped.file, 0));
  if (!kind) fail_format("{} does not start with llm.c's magic number", name);
  const auto version = number_at<uint32_t>(mapped.file, 4);
  if (version != kind->version)
    fail_format("{}: version is {}, expected {} with this magic number", name, version,
                kind->version);
  TokenStoreInfo& info = mapped.info;
  info.format = TokenFormat::llmc;
  info.tokens = number_at<uint32_t>(mapped.file, 8);
  info.token_bytes = kind->token_bytes;
  info.vocabulary = kind->vocabulary;
  info.separator = kind->separator;
  const uint64_t expected = kLlmcHeader + info.tokens * static_cast<uint64_t>(info.token_bytes);
  if (mapped.file.size() != expected)
    fail_format("{} has {} bytes, but {} tokens need {}; it is cut off or damaged", name,
                mapped.file.size(), info.tokens, expected);
  info.fingerprint = fingerprint_of(mapped.file);
  mapped.tokens = mapped.file.data() + kLlmcHeader;
  return mapped;
}

MappedTokens open_megatron(const std::filesystem::path& path) {
  MappedTokens mapped;
  mapped.path = megatron_part(path, ".bin");
  const std::string index_name = megatron_part(path, ".idx").string();
  const MappedFile index_file(index_name);
  const MegatronIndex index = read_index(index_file, index_name);
  mapped.offsets = document_offsets(index, index_name);
  mapped.file = MappedFile(mapped.path);
  TokenStoreInfo& info = mapped.info;
  info.format = TokenFormat::megatron;
  info.tokens = mapped.offsets.back();
  info.documents = mapped.offsets.size() - 1;
  info.token_bytes = index.token_bytes;
  info.vocabulary = index.token_bytes == 2 ? 1 << 16 : std::numeric_limits<int32_t>::max();
  uint64_t expected = 0;
  if (!checked_multiply(info.tokens, static_cast<uint64_t>(info.token_bytes), expected) ||
      mapped.file.size() != expected)
    fail_format("{} has {} bytes, but the {} tokens that {} tells of need {}", mapped.path.string(),
                mapped.file.size(), info.tokens, index_name, expected);
  const uint64_t parts[] = {fingerprint_of(mapped.file),
                            hash_bytes(index_file.data(), index_file.size())};
  info.fingerprint = hash_bytes(parts, sizeof(parts));
  mapped.tokens = mapped.file.data();
  return mapped;
}

}  // namespace isoflop
