#include "datasets/convert.hpp"

#include "core/error.hpp"
#include "core/file.hpp"
#include "core/hash.hpp"
#include "datasets/token_documents.hpp"
#include "datasets/token_store.hpp"
#include "formats/hdf5_slabs.hpp"

#include <algorithm>
#include <optional>

namespace isoflop {

namespace {

constexpr char kCerebrasData[] = "data";
enum Feature { kInputs, kMask, kLabels };

void add_source(TokenStoreWriter& writer, const std::filesystem::path& path) {
  const MappedFile file(path);
  writer.add_source({path.string(), file.size(), hash_bytes(file.data(), file.size())});
}

void copy_documents(const TokenStore& store,
                    const TokenBytes& bytes,
                    const std::atomic<bool>* stop,
                    TokenStoreWriter& writer) {
  std::vector<int32_t> ids;
  for_each_document(store, [&](uint64_t first, uint64_t last) {
    throw_if_stopped(stop);
    const uint64_t text_bytes = bytes.of(store, first, last);
    for (; first < last; first += ids.size()) {
      ids.resize(std::min<uint64_t>(last - first, 1 << 16));
      store.read(first, ids);
      writer.append(ids);
    }
    writer.end_document(text_bytes);
    return true;
  });
}

// The rows of one file of the Model Zoo.
class Examples {
 public:
  Examples(const std::filesystem::path& path, const Tokenizer& tokenizer)
      : name_(path.string()), slabs_(path, kCerebrasData), tokenizer_(tokenizer) {
    if (slabs_.shape()[1] != 3 || slabs_.shape()[2] < 1)
      fail_format(
          "{}: data has the shape {} x {} x {}, expected N x 3 x tokens (input ids, mask, "
          "labels)",
          name_, slabs_.shape()[0], slabs_.shape()[1], slabs_.shape()[2]);
    slab_.resize(3 * length());
  }
  uint64_t length() const { return slabs_.shape()[2]; }
  uint64_t count() const { return slabs_.shape()[0]; }

  /// Length + 1 tokens; empty when the example has masked tokens.
  std::span<const int32_t> read(uint64_t index) {
    slabs_.read(index, slab_);
    const std::span<const int32_t> mask = feature(kMask), inputs = feature(kInputs);
    if (std::any_of(mask.begin(), mask.end(), [](int32_t m) { return m != 1; })) return {};
    row_.assign(inputs.begin(), inputs.end());
    row_.push_back(feature(kLabels).back());
    for (size_t i = 0; i < row_.size(); ++i) {
      if (row_[i] < 0 || row_[i] >= tokenizer_.vocabulary())
        fail_format(
            "{}: example {} has the token {} at {}, outside the vocabulary of {}; name the "
            "tokenizer that the file was made with (--tokenizer)",
            name_, index, row_[i], i, tokenizer_.vocabulary());
      if (i > 0 && row_[i] != feature(kLabels)[i - 1])
        fail_format(
            "{}: label {} of example {} is not the token after it; only data for "
            "next-token prediction is read",
            name_, i - 1, index);
    }
    return row_;
  }

 private:
  std::span<const int32_t> feature(Feature feature) const {
    return std::span(slab_).subspan(feature * length(), length());
  }
  std::string name_;
  hdf5::SlabReader slabs_;
  const Tokenizer& tokenizer_;
  std::vector<int32_t> slab_, row_;
};

uint64_t copy_examples(Examples& examples,
                       const std::vector<uint32_t>& token_bytes,
                       const std::atomic<bool>* stop,
                       TokenStoreWriter& writer) {
  uint64_t left_out = 0;
  for (uint64_t i = 0; i < examples.count(); ++i) {
    if (i % 256 == 0) throw_if_stopped(stop);
    const std::span<const int32_t> row = examples.read(i);
    left_out += row.empty();
    if (row.empty()) continue;
    uint64_t bytes = 0;
    for (const int32_t id : row) bytes += token_bytes[static_cast<size_t>(id)];
    writer.add_document(row, bytes);
  }
  return left_out;
}

}  // namespace

bool is_cerebras(const std::filesystem::path& path) {
  return hdf5::SlabReader::has_slabs(path, kCerebrasData);
}

ConvertReport convert_tokens(const std::vector<std::filesystem::path>& inputs,
                             const Tokenizer& tokenizer,
                             const std::filesystem::path& out,
                             const std::atomic<bool>* stop) {
  TokenStoreWriter writer(out, tokenizer.vocabulary(), tokenizer.separator(), tokenizer.hash());
  const TokenBytes bytes(tokenizer);
  const auto rows = std::count_if(inputs.begin(), inputs.end(), is_cerebras);
  if (rows > 0 && rows < static_cast<std::ptrdiff_t>(inputs.size()))
    fail_user("examples of fixed length and documents do not go into one store; convert {} alone",
              inputs[0].string());
  ConvertReport report;
  uint64_t length = 0;
  for (const std::filesystem::path& path : inputs) {
    if (rows == 0) {
      const auto store = TokenStore::open(path, false, &tokenizer);
      copy_documents(*store, bytes, stop, writer);
      add_source(writer, store->path());
      continue;
    }
    Examples examples(path, tokenizer);
    if (length == 0) writer.set_row_tokens(examples.length() + 1);
    if (length != 0 && length != examples.length())
      fail_user("{} has examples of {} tokens, {} of {}; convert them apart", path.string(),
                examples.length(), inputs[0].string(), length);
    length = examples.length();
    report.left_out += copy_examples(examples, bytes.of_tokens(), stop, writer);
    add_source(writer, path);
  }
  const TokenStoreInfo info = writer.finish();
  if (info.documents == 0) {
    std::filesystem::remove(out);
    fail_user("there is nothing to convert in {}{}", inputs[0].string(),
              report.left_out ? ": every example has masked tokens" : "");
  }
  report.store = {info.tokens, info.documents, info.text_bytes};
  return report;
}

}  // namespace isoflop
