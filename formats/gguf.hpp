// GGUF, the file of the llama.cpp family: typed keys, tensor records, then aligned data. No models
// here.
//
// The reader maps the file and trusts nothing: counts are capped by the bytes left before anything
// is allocated, sizes are multiplied and padded with overflow checks, every tensor's offset must be
// the exact running sum, names are unique. Versions 2 and 3, little-endian. Names, texts and data
// are views into the mapping and live as long as the GgufFile. A damaged file is a FormatError with
// field and offset; a missing or wrongly typed key is a UserError with file and key.
#pragma once
#include "core/file.hpp"
#include "formats/block_codec.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

enum class GgufType : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  text,
  array,
  u64,
  i64,
  f64
};
std::string_view name_of(GgufType type);

struct GgufValue {
  GgufType type = GgufType::u8;  // never array: for an array, of its elements
  bool is_array = false;
  uint64_t count = 1;                // elements
  std::span<const std::byte> bytes;  // as stored, behind type and count
};

struct GgufTensor {
  std::string_view name;
  const BlockCodec* codec = nullptr;
  std::vector<int64_t> dims;  // 1..4, fastest first
  std::span<const std::byte> data;

  int64_t cols() const { return dims[0]; }
  int64_t rows() const;  // product of the others
};

class GgufFile {
 public:
  explicit GgufFile(const fs::path& path);
  /// Over bytes the caller keeps alive; `origin` stands for the file in messages.
  GgufFile(std::span<const std::byte> bytes, std::string origin);
  static bool looks_like_gguf(const fs::path& path);

  const std::string& origin() const { return origin_; }
  uint32_t version() const { return version_; }
  uint64_t alignment() const { return alignment_; }

  /// Keys in file order, and the value of one (null when absent).
  const std::vector<std::string_view>& keys() const { return keys_; }
  const GgufValue* find(std::string_view key) const;

  /// Required keys. Types are strict: a u32 written as i32 is refused, as the runtime does.
  uint32_t u32(std::string_view key) const;
  float f32(std::string_view key) const;
  bool boolean(std::string_view key) const;
  std::string_view text(std::string_view key) const;
  std::vector<std::string_view> texts(std::string_view key) const;
  std::vector<int32_t> i32s(std::string_view key) const;
  std::vector<float> f32s(std::string_view key) const;
  /// Optional ones: nothing when absent, still an error when of another type.
  std::optional<uint32_t> find_u32(std::string_view key) const;
  std::optional<float> find_f32(std::string_view key) const;
  std::optional<bool> find_boolean(std::string_view key) const;
  std::optional<std::string_view> find_text(std::string_view key) const;

  /// Tensors in file order; one by name (null when absent).
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find_tensor(std::string_view name) const;

 private:
  class Parser;
  const GgufValue& require(std::string_view key, GgufType type, bool is_array) const;

  MappedFile file_;
  std::string origin_;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  std::vector<std::string_view> keys_;
  std::map<std::string_view, GgufValue> values_;
  std::vector<GgufTensor> tensors_;
  std::map<std::string_view, size_t> tensor_index_;
};

/// Writes version 3 in two phases: keys and tensor records, then the tensors' bytes in record
/// order, in pieces of any size. The file appears under its name at finish(); without it the
/// temporary is removed. UserError for what a loader would refuse, IoError when the disk fails.
class GgufWriter {
 public:
  explicit GgufWriter(fs::path path);
  ~GgufWriter();
  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;

  void put_u32(std::string_view key, uint32_t value);
  void put_f32(std::string_view key, float value);
  void put_boolean(std::string_view key, bool value);
  void put_text(std::string_view key, std::string_view value);
  void put_texts(std::string_view key, const std::vector<std::string>& values);
  void put_i32s(std::string_view key, const std::vector<int32_t>& values);
  void put_f32s(std::string_view key, const std::vector<float>& values);
  /// dims fastest first.
  void add_tensor(std::string_view name, const std::vector<int64_t>& dims, BlockType type);

  /// The next bytes of the tensor data; `name` must be the tensor whose turn it is.
  void write(std::string_view name, std::span<const std::byte> bytes);
  /// All bytes of all tensors are there: rename into place. Returns the size of the file.
  uint64_t finish();

 private:
  struct Record {
    std::string name;
    uint64_t bytes = 0;
  };
  void put_key(std::string_view key, GgufType type);
  void write_header();
  void write_raw(const void* data, size_t bytes);
  void write_padding();

  fs::path path_;
  fs::path temporary_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  std::string keys_;     // encoded
  std::string records_;  // encoded
  std::set<std::string, std::less<>> key_names_;
  std::set<std::string, std::less<>> tensor_names_;
  std::vector<Record> tensors_;
  uint64_t data_bytes_ = 0;  // declared, padded
  bool header_written_ = false;
  uint64_t position_ = 0;  // in the file
  size_t current_ = 0;     // tensor being written
  uint64_t current_bytes_ = 0;
};

}  // namespace isoflop
