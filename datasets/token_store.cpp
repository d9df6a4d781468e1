#include "datasets/token_store.hpp"

#include "core/error.hpp"
#include "datasets/token_store_layout.hpp"
#include "formats/hdf5.hpp"

#include <algorithm>
#include <limits>

namespace isoflop {

using namespace token_store_layout;

namespace {

// Largest id of a run of tokens, and the tokens widened. Simple enough that compilers vectorize it.
template <class T>
uint32_t widen(const std::byte* from, std::span<int32_t> out) {
  const T* const tokens = reinterpret_cast<const T*>(from);
  uint32_t largest = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    const uint32_t token = tokens[i];
    largest = std::max(largest, token);
    out[i] = static_cast<int32_t>(token);
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
  info.sources = sources_from_json(file.read_text(kSources), name);
  return info;
}

}  // namespace

bool TokenStore::looks_like_store(const std::filesystem::path& path) {
  return path.extension() == ".h5" || path.extension() == ".hdf5" ||
         hdf5::File::has_signature(path);
}

std::shared_ptr<const TokenStore> TokenStore::open(const std::filesystem::path& path, bool verify) {
  std::shared_ptr<TokenStore> store(new TokenStore);
  const std::string name = path.string();
  store->path_ = path;
  store->file_ = MappedFile(path);
  const Seal seal = check_seal(store->file_, name);
  const hdf5::File file = hdf5::File::open(path);
  const uint64_t version = file.u64_attribute("/", kVersionAttribute);
  if (version != kVersion)
    fail_format("{}: {} is {}, this program reads {}; build the store again", name,
                kVersionAttribute, version, kVersion);

  const hdf5::DatasetInfo tokens = file.info(kTokens);
  TokenStoreInfo& info = store->info_;
  info = read_info(file, tokens);
  if (tokens.offset.value_or(kSealBytes) != seal.tokens_offset ||
      info.tokens * static_cast<uint64_t>(info.token_bytes) != seal.tokens_bytes)
    fail_format("{}: {} is not where it was; build the store again", name, kTokens);
  store->tokens_ = store->file_.data() + seal.tokens_offset;

  store->offsets_ = file.read_dataset<uint64_t>(kOffsets, seal.file_bytes / sizeof(uint64_t));
  check_offsets(name, store->offsets_, info.tokens);
  info.documents = store->offsets_.size() - 1;
  const auto hashes = file.read_dataset<uint64_t>(kHashes, seal.file_bytes / sizeof(uint64_t));
  if (hashes.size() != block_count(info))
    fail_format("{}: {} has {} entries, expected {}; build the store again", name, kHashes,
                hashes.size(), block_count(info));
  if (verify) store->verify(hashes, seal.tokens_offset);
  return store;
}

void TokenStore::verify(std::span<const uint64_t> hashes, uint64_t file_offset) const {
  const uint64_t bytes = info_.tokens * static_cast<uint64_t>(info_.token_bytes);
  for (size_t block = 0; block < hashes.size(); ++block) {
    const uint64_t first = block * kBlockBytes;
    const uint64_t size = std::min(kBlockBytes, bytes - first);
    if (hash_bytes(tokens_ + first, size) != hashes[block])
      fail_format(
          "{}: {} is damaged between bytes {} and {} of the file (block {} does not match its "
          "hash); build the store again",
          path_.string(), kTokens, file_offset + first, file_offset + first + size, block);
  }
  std::vector<int32_t> buffer(1 << 16);
  for (uint64_t first = 0; first < info_.tokens; first += buffer.size())
    read(first, std::span(buffer).first(std::min<uint64_t>(buffer.size(), info_.tokens - first)));
}

void TokenStore::read(uint64_t first, std::span<int32_t> out) const {
  ISOFLOP_CHECK(first <= info_.tokens && out.size() <= info_.tokens - first,
                "tokens {} to {} of {} in {}", first, first + out.size(), info_.tokens,
                path_.string());
  const uint32_t largest = info_.token_bytes == 2 ? widen<uint16_t>(tokens_ + 2 * first, out)
                                                  : widen<uint32_t>(tokens_ + 4 * first, out);
  // An id beyond the vocabulary would index outside of the embedding table.
  if (!out.empty() && largest >= static_cast<uint32_t>(info_.vocabulary))
    fail_format(
        "{}: token {} between tokens {} and {} is outside the vocabulary of {}: the file is "
        "damaged; build the store again",
        path_.string(), largest, first, first + out.size(), info_.vocabulary);
}

}  // namespace isoflop
