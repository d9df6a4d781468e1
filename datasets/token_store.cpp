#include "datasets/token_store.hpp"

#include "core/error.hpp"
#include "datasets/corpus.hpp"
#include "datasets/foreign_tokens.hpp"
#include "datasets/token_store_layout.hpp"
#include "formats/hdf5.hpp"

#include <algorithm>
#include <limits>

namespace isoflop {

using namespace token_store_layout;

namespace {

// Largest id of a run of tokens, and the tokens widened. Simple enough that compilers vectorize it.
// What is negative in the file counts as very large.
template <class T, class Largest>
uint64_t widen(const std::byte* from, std::span<int32_t> out) {
  const T* const tokens = reinterpret_cast<const T*>(from);
  Largest largest = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    const Largest token = tokens[i];
    largest = std::max(largest, token);
    constexpr auto kMost = static_cast<Largest>(std::numeric_limits<int32_t>::max());
    out[i] = token > kMost ? -1 : static_cast<int32_t>(token);
  }
  return largest;
}

void check_offsets(const std::string& path, const std::vector<uint64_t>& offsets, uint64_t tokens) {
  if (offsets.empty() || offsets.front() != 0)
    fail_format("{}: {} does not start with 0; build the store again", path, kOffsets);
  const auto drop = std::is_sorted_until(offsets.begin(), offsets.end());
  if (drop != offsets.end())
    fail_format("{}: {}[{}] is smaller than the entry before it; build the store again", path,
                kOffsets, drop - offsets.begin());
  if (offsets.back() != tokens)
    fail_format("{}: {} ends at {} but {} has {} tokens; build the store again", path, kOffsets,
                offsets.back(), kTokens, tokens);
}

// What the attributes and /sources say; documents are counted by the caller.
TokenStoreInfo read_info(const hdf5::File& file, const hdf5::DatasetInfo& tokens) {
  const std::string name = file.path().string();
  TokenStoreInfo info;
  if (tokens.shape.size() != 1 ||
      (tokens.type != hdf5::Type::u16 && tokens.type != hdf5::Type::u32))
    fail_format("{}: {} is not a list of u16 or u32", name, kTokens);
  info.tokens = tokens.elements;
  info.token_bytes = static_cast<int>(hdf5::size_of(tokens.type));
  if (tokens.offset.value_or(0) % static_cast<uint64_t>(info.token_bytes) != 0)
    fail_format("{}: {} cannot be mapped where it lies; build the store again", name, kTokens);

  const uint64_t vocabulary = file.u64_attribute("/", kVocabularyAttribute);
  const int64_t separator = file.i64_attribute("/", kSeparatorAttribute);
  if (vocabulary == 0 || vocabulary > std::numeric_limits<int32_t>::max())
    fail_format("{}: {} is {}", name, kVocabularyAttribute, vocabulary);
  if (separator < -1 || separator >= static_cast<int64_t>(vocabulary))
    fail_format("{}: {} {} is not a token of a vocabulary of {}", name, kSeparatorAttribute,
                separator, vocabulary);
  info.vocabulary = static_cast<int>(vocabulary);
  info.separator = static_cast<int>(separator);
  info.tokenizer_hash = file.u64_attribute("/", kTokenizerAttribute);
  info.text_bytes = file.u64_attribute("/", kTextBytesAttribute);
  if (file.has_attribute("/", kRowAttribute))
    info.row_tokens = file.u64_attribute("/", kRowAttribute);
  if (info.row_tokens > 0 && info.tokens % info.row_tokens != 0)
    fail_format("{}: {} tokens are not whole rows of {}", name, info.tokens, info.row_tokens);
  info.sources = sources_from_json(file.read_text(kSources), name);
  return info;
}

// A store of ours.
MappedTokens open_ours(const std::filesystem::path& path, std::vector<uint64_t>& hashes) {
  MappedTokens mapped;
  const std::string name = path.string();
  mapped.path = path;
  mapped.file = MappedFile(path);
  const Seal seal = check_seal(mapped.file, name);
  const hdf5::File file = hdf5::File::open(path);
  const uint64_t version = file.u64_attribute("/", kVersionAttribute);
  if (version != kVersion)
    fail_format("{}: {} is {}, this program reads {}; build the store again", name,
                kVersionAttribute, version, kVersion);

  const hdf5::DatasetInfo tokens = file.info(kTokens);
  TokenStoreInfo& info = mapped.info;
  info = read_info(file, tokens);
  info.fingerprint = seal.hash;
  if (tokens.offset.value_or(kSealBytes) != seal.tokens_offset ||
      info.tokens * static_cast<uint64_t>(info.token_bytes) != seal.tokens_bytes)
    fail_format("{}: {} is not where it was; build the store again", name, kTokens);
  mapped.tokens = mapped.file.data() + seal.tokens_offset;

  mapped.offsets = file.read_dataset<uint64_t>(kOffsets, seal.file_bytes / sizeof(uint64_t));
  check_offsets(name, mapped.offsets, info.tokens);
  info.documents = mapped.offsets.size() - 1;
  hashes = file.read_dataset<uint64_t>(kHashes, seal.file_bytes / sizeof(uint64_t));
  if (hashes.size() != block_count(info))
    fail_format("{}: {} has {} entries, expected {}; build the store again", name, kHashes,
                hashes.size(), block_count(info));
  return mapped;
}

}  // namespace

std::string_view name_of(TokenFormat format) {
  switch (format) {
    case TokenFormat::llmc:
      return "llm.c";
    case TokenFormat::megatron:
      return "megatron";
    default:
      return "isoflop";
  }
}

bool TokenStore::looks_like_store(const std::filesystem::path& path) {
  return path.extension() == ".h5" || path.extension() == ".hdf5" ||
         hdf5::File::has_signature(path) || foreign_format(path).has_value();
}

std::shared_ptr<const TokenStore> TokenStore::open(const std::filesystem::path& path,
                                                   bool verify,
                                                   const Tokenizer* tokenizer) {
  if (const auto format = foreign_format(path)) {
    MappedTokens mapped = *format == TokenFormat::llmc ? open_llmc(path) : open_megatron(path);
    if (tokenizer) {
      mapped.info.vocabulary = tokenizer->vocabulary();
      mapped.info.separator = tokenizer->separator();
      mapped.info.tokenizer_hash = tokenizer->hash();
    }
    const auto store = std::make_shared<const TokenStore>(std::move(mapped));
    if (verify) store->check_ids();
    return store;
  }
  std::vector<uint64_t> hashes;
  const auto store = std::make_shared<const TokenStore>(open_ours(path, hashes));
  if (verify) store->verify(hashes);
  return store;
}

void TokenStore::verify(std::span<const uint64_t> hashes) const {
  const uint64_t bytes = tokens() * static_cast<uint64_t>(info().token_bytes);
  const auto file_offset = static_cast<uint64_t>(mapped_.tokens - mapped_.file.data());
  for (size_t block = 0; block < hashes.size(); ++block) {
    const uint64_t first = block * kBlockBytes;
    const uint64_t size = std::min(kBlockBytes, bytes - first);
    if (hash_bytes(mapped_.tokens + first, size) != hashes[block])
      fail_format(
          "{}: {} is damaged between bytes {} and {} of the file (block {} does not match its "
          "hash); build the store again",
          path().string(), kTokens, file_offset + first, file_offset + first + size, block);
  }
  check_ids();
}

void TokenStore::check_ids() const {
  std::vector<int32_t> buffer(1 << 16);
  for (uint64_t first = 0; first < tokens(); first += buffer.size())
    read(first, std::span(buffer).first(std::min<uint64_t>(buffer.size(), tokens() - first)));
}

void TokenStore::read(uint64_t first, std::span<int32_t> out) const {
  ISOFLOP_CHECK(first <= tokens() && out.size() <= tokens() - first, "tokens {} to {} of {} in {}",
                first, first + out.size(), tokens(), path().string());
  const std::byte* const from = mapped_.tokens + first * static_cast<uint64_t>(info().token_bytes);
  const auto vocabulary = static_cast<uint64_t>(info().vocabulary);
  uint64_t largest = 0;
  switch (info().token_bytes) {
    case 2:
      largest = widen<uint16_t, uint32_t>(from, out);
      break;
    case 4:
      largest = widen<uint32_t, uint32_t>(from, out);
      break;
    default:
      largest = widen<uint64_t, uint64_t>(from, out);
  }
  if (out.empty() || largest < vocabulary) return;
  // An id beyond the vocabulary would index outside of the embedding table.
  const auto bad = std::find_if(out.begin(), out.end(), [&](int32_t id) {
    return id < 0 || static_cast<uint64_t>(id) >= vocabulary;
  });
  fail_format("{}: token {} of the file is {}, outside the vocabulary of {}: {}", path().string(),
              first + static_cast<uint64_t>(bad - out.begin()), largest, vocabulary,
              info().format == TokenFormat::ours
                  ? "the file is damaged; build the store again"
                  : "name the tokenizer that the file was made with (data.tokenizer, --tokenizer)");
}

uint64_t TokenStore::windows(int64_t context) const {
  const auto stride = static_cast<uint64_t>(context);
  const uint64_t row = info().row_tokens;
  if (row > 0) return tokens() / row * ((row - 1) / stride);
  return tokens() > 0 ? (tokens() - 1) / stride : 0;
}

uint64_t TokenStore::window_start(uint64_t window, int64_t context) const {
  const auto stride = static_cast<uint64_t>(context);
  const uint64_t row = info().row_tokens;
  if (row == 0) return window * stride;
  const uint64_t per_row = (row - 1) / stride;
  return window / per_row * row + window % per_row * stride;
}

std::vector<std::filesystem::path> find_stores(const std::string& word) {
  if (std::filesystem::exists(word) || word.find_first_of("*?[") == std::string::npos)
    return {word};
  std::vector<std::filesystem::path> paths;
  for (const std::string& path : glob_files(word)) paths.emplace_back(path);
  return paths;
}

}  // namespace isoflop
