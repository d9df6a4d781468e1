// Token stores whose seal is right and whose fields are anything: what a program that knows the
// format could write. The input is a list of fields, not the file.
#include "datasets/token_store_layout.hpp"
#include "formats/hdf5.hpp"
#include "tests/fuzz/input_file.hpp"
#include "tests/fuzz/use_tokens.hpp"

#include <cstring>

namespace isoflop::fuzz {
namespace {

namespace layout = token_store_layout;

constexpr size_t kNumbers = 12;  // u64 each, then the text of /sources

enum Number {
  version,
  vocabulary,
  separator,
  row,
  text_bytes,
  flags,
  tokens,
  stride,
  documents,
  hashes,
  seal_offset,
  seal_bytes
};

std::string fields(const std::vector<uint64_t>& numbers, std::string_view sources) {
  std::string bytes(kNumbers * 8, '\0');
  std::memcpy(bytes.data(), numbers.data(), bytes.size());
  return bytes.append(sources);
}

std::vector<std::string> seeds() {
  constexpr std::string_view kList = R"([{"path": "a", "bytes": 12, "xxh3": "00ff"}])";
  return {fields({1, 300, 0, 0, 12, 0, 12, 4, 3, 1, 0, 0}, kList),
          fields({1, 300, ~uint64_t{0}, 4, 12, 1, 12, 4, 3, 1, 0, 0}, kList),
          fields({1, 70000, 0, 0, 12, 2, 12, 4, 3, 1, 0, 0}, "[]")};
}

/// A file with these fields, sealed.
void write_store(const std::string& path, const uint64_t* n, std::string_view sources) {
  hdf5::File file = hdf5::File::create(path, layout::kSealBytes);
  file.set_attribute("/", layout::kVersionAttribute, n[version]);
  file.set_attribute("/", layout::kVocabularyAttribute, n[vocabulary]);
  file.set_attribute("/", layout::kSeparatorAttribute, static_cast<int64_t>(n[separator]));
  file.set_attribute("/", layout::kTokenizerAttribute, uint64_t{1});
  file.set_attribute("/", layout::kTextBytesAttribute, n[text_bytes]);
  if (n[flags] & 1) file.set_attribute("/", layout::kRowAttribute, n[row]);
  const std::vector<uint64_t> ids(n[tokens] % 64, n[stride]);
  const uint64_t shape[] = {ids.size()}, square[] = {ids.size(), 1};
  const bool flat = !(n[flags] & 8);
  const std::span<const uint64_t> dims = flat ? std::span<const uint64_t>(shape) : square;
  uint64_t sum = n[text_bytes];
  const auto write_tokens = [&]<class T>(T) {
    const std::vector<T> stored(ids.begin(), ids.end());
    file.write_dataset<T>(layout::kTokens, dims, stored);
    if (!(n[flags] & 32)) sum = hash_bytes(stored.data(), stored.size() * sizeof(T));
    return sizeof(T);
  };
  const int type = n[flags] / 2 % 4;
  const size_t width = type == 0   ? write_tokens(uint16_t{})
                       : type == 1 ? write_tokens(uint32_t{})
                       : type == 2 ? write_tokens(uint64_t{})
                                   : write_tokens(float{});
  std::vector<uint64_t> offsets;
  for (uint64_t i = 0; i <= n[documents] % 64; ++i) offsets.push_back(i * n[stride]);
  if (!(n[flags] & 16))
    file.write_dataset<uint64_t>(layout::kOffsets, std::vector<uint64_t>{offsets.size()}, offsets);
  const std::vector<uint64_t> sums(n[hashes] % 4, sum);
  file.write_dataset<uint64_t>(layout::kHashes, std::vector<uint64_t>{sums.size()}, sums);
  file.write_text(layout::kSources, sources);
  const uint64_t at = file.info(layout::kTokens).offset.value_or(layout::kSealBytes);
  file.close();
  layout::write_seal(path, at + n[seal_offset] % 8, ids.size() * width + n[seal_bytes] % 8);
}

void run(std::string_view bytes) {
  if (bytes.size() < kNumbers * 8) return;
  uint64_t numbers[kNumbers];
  std::memcpy(numbers, bytes.data(), sizeof(numbers));
  const std::string path = input_file("fuzz-fields.h5", "");
  write_store(path, numbers, bytes.substr(sizeof(numbers)));
  TokenStore::open(path);
  use_tokens(path);
}

const Registered target({"token_store_fields",
                         seeds,
                         run,
                         {"datasets/token_store.cpp", "datasets/token_store_layout.cpp"}});

}  // namespace
}  // namespace isoflop::fuzz
