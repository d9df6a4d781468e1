#include "core/error.hpp"
#include "core/math.hpp"
#include "formats/gguf.hpp"

#include <bit>
#include <cstring>
#include <fstream>
#include <iterator>

namespace isoflop {

namespace {

constexpr uint64_t kMostElements = uint64_t{1} << 30;   // of a string or an array, as the runtime
constexpr uint64_t kMostAlignment = uint64_t{1} << 24;  // a larger one only serves to waste memory
constexpr uint64_t kLeastKeyBytes = 13;                 // length, type and a one-byte value
constexpr uint64_t kLeastTensorBytes = 25;  // length, dimensions, type, offset, rounded down
constexpr uint64_t kMostTensorName = 63;

/// Bytes of one element; 0 for text and array.
uint64_t bytes_of(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
      return 8;
    case GgufType::text:
    case GgufType::array:
      return 0;
  }
  return 0;
}

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

std::string_view text_at(const std::byte* at, uint64_t bytes) {
  return {reinterpret_cast<const char*>(at), bytes};
}

}  // namespace

std::string_view name_of(GgufType type) {
  static constexpr std::string_view kNames[] = {"u8",  "i8",  "u16",  "i16",    "u32",
                                                "i32", "f32", "bool", "string", "array",
                                                "u64", "i64", "f64"};
  const auto index = static_cast<size_t>(type);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

int64_t GgufTensor::rows() const {
  int64_t rows = 1;
  for (size_t i = 1; i < dims.size(); ++i) rows *= dims[i];
  return rows;
}

/// Walks the file once; every read says what it is for and is checked against the end.
class GgufFile::Parser {
 public:
  Parser(GgufFile& file, std::span<const std::byte> bytes) : file_(file), bytes_(bytes) {}

  void run() {
    header();
    for (uint64_t i = 0; i < key_count_; ++i) key(i);
    alignment();
    for (uint64_t i = 0; i < tensor_count_; ++i) tensor(i);
    data();
  }

 private:
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) const {
    fail_format(
        "{}: {} (at byte {}); the file is damaged or no GGUF file, fetch or export it again",
        file_.origin_, fmt::format(text, std::forward<Args>(args)...), position_);
  }

  uint64_t left() const { return bytes_.size() - position_; }

  const std::byte* take(uint64_t bytes, std::string_view what) {
    if (bytes > left()) fail("{} needs {} bytes, {} are left", what, bytes, left());
    const std::byte* at = bytes_.data() + position_;
    position_ += bytes;
    return at;
  }

  template <class T>
  T number(std::string_view what) {
    return load<T>(take(sizeof(T), what));
  }

  std::string_view string(std::string_view what) {
    const auto length = number<uint64_t>(what);
    if (length > kMostElements) fail("{} has length {}", what, length);
    return text_at(take(length, what), length);
  }

  void header() {
    if (text_at(take(4, "magic"), 4) != "GGUF") fail("does not start with GGUF");
    file_.version_ = number<uint32_t>("version");
    if ((file_.version_ & 0xffff) == 0 && file_.version_ != 0)
      fail("is written in the other byte order (big-endian), which is not supported");
    if (file_.version_ != 2 && file_.version_ != 3)
      fail("GGUF version {} is not supported, only 2 and 3", file_.version_);
    tensor_count_ = number<uint64_t>("tensor count");
    key_count_ = number<uint64_t>("key count");
    if (key_count_ > left() / kLeastKeyBytes) fail("key count {} exceeds the file", key_count_);
    if (tensor_count_ > left() / kLeastTensorBytes)
      fail("tensor count {} exceeds the file", tensor_count_);
  }

  GgufType value_type(std::string_view what) {
    const auto id = number<uint32_t>(what);
    if (id > static_cast<uint32_t>(GgufType::f64)) fail("{} has unknown value type {}", what, id);
    return static_cast<GgufType>(id);
  }

  void key(uint64_t index) {
    const std::string_view name = string(fmt::format("name of key {}", index));
    if (name.empty()) fail("key {} has an empty name", index);
    const std::string what = fmt::format("key {}", name);
    GgufValue value;
    value.type = value_type(what);
    if (value.type == GgufType::array) {
      value.is_array = true;
      value.type = value_type(what);
      if (value.type == GgufType::array) fail("{} is an array of arrays", what);
      value.count = number<uint64_t>(what);
      if (value.count > kMostElements) fail("{} has {} elements", what, value.count);
    }
    value.bytes = elements(value, what);
    if (!file_.values_.emplace(name, value).second) fail("{} appears twice", what);
    file_.keys_.push_back(name);
  }

  std::span<const std::byte> elements(const GgufValue& value, std::string_view what) {
    const std::byte* first = bytes_.data() + position_;
    if (value.type == GgufType::text) {
      for (uint64_t i = 0; i < value.count; ++i) string(what);
    } else {
      take(value.count * bytes_of(value.type), what);  // at most 2^30 * 8
    }
    const std::span<const std::byte> bytes{first, bytes_.data() + position_};
    if (value.type == GgufType::boolean)
      for (const std::byte b : bytes)
        if (b > std::byte{1}) fail("{} holds the byte {} for a bool", what, static_cast<int>(b));
    return bytes;
  }

  void alignment() {
    const GgufValue* value = file_.find("general.alignment");
    if (!value) return;
    if (value->type != GgufType::u32 || value->is_array)
      fail("key general.alignment must be a u32");
    file_.alignment_ = load<uint32_t>(value->bytes.data());
    if (!std::has_single_bit(file_.alignment_) || file_.alignment_ > kMostAlignment)
      fail("general.alignment is {}, not a power of two up to {}", file_.alignment_,
           kMostAlignment);
  }

  void tensor(uint64_t index) {
    GgufTensor tensor;
    tensor.name = string(fmt::format("name of tensor {}", index));
    const std::string what = fmt::format("tensor {}", tensor.name);
    if (tensor.name.empty() || tensor.name.size() > kMostTensorName)
      fail("the name of tensor {} has {} bytes, not 1 to {}", index, tensor.name.size(),
           kMostTensorName);
    if (!file_.tensor_index_.emplace(tensor.name, file_.tensors_.size()).second)
      fail("{} appears twice", what);

    const auto n_dims = number<uint32_t>(what);
    if (n_dims < 1 || n_dims > 4) fail("{} has {} dimensions, not 1 to 4", what, n_dims);
    uint64_t count = 1;
    for (uint32_t d = 0; d < n_dims; ++d) {
      const auto dim = number<int64_t>(what);
      if (dim < 1) fail("{} has a dimension of {}", what, dim);
      tensor.dims.push_back(dim);
      if (!checked_multiply(count, static_cast<uint64_t>(dim), count) || count >> 62)
        fail("the element count of {} overflows", what);
    }
    const auto type = number<uint32_t>(what);
    tensor.codec = find_block_codec(type);
    if (!tensor.codec) fail("{} has unknown type {}", what, type);
    if (!tensor.codec->fits(tensor.cols()))
      fail("{} has rows of {} values, not a multiple of {}'s block of {}", what, tensor.cols(),
           tensor.codec->name, tensor.codec->block_elements);
    place(tensor, count, what);
    file_.tensors_.push_back(std::move(tensor));
  }

  /// The offset must be the running sum. data() later turns (offset, size) into a span, once the
  /// start of the data section is known.
  void place(const GgufTensor& tensor, uint64_t count, std::string_view what) {
    const auto offset = number<uint64_t>(what);
    uint64_t bytes = 0;
    const auto block_elements = static_cast<uint64_t>(tensor.codec->block_elements);
    const auto block_bytes = static_cast<uint64_t>(tensor.codec->block_bytes);
    if (!checked_multiply(count / block_elements, block_bytes, bytes))
      fail("the size of {} overflows", what);
    if (offset != next_offset_) fail("{} lies at offset {}, not {}", what, offset, next_offset_);
    sizes_.push_back(bytes);
    if (!checked_add(offset, bytes, next_offset_) || !pad(next_offset_))
      fail("the size of {} overflows", what);
  }

  bool pad(uint64_t& offset) const {
    const uint64_t mask = file_.alignment_ - 1;
    if (!checked_add(offset, mask, offset)) return false;
    offset &= ~mask;
    return true;
  }

  void data() {
    uint64_t at = position_;
    if (!pad(at)) fail("the start of the data section overflows");
    for (size_t i = 0; i < sizes_.size(); ++i) {
      if (at > bytes_.size() || sizes_[i] > bytes_.size() - at)
        fail("tensor {} ends at byte {} of a file of {}", file_.tensors_[i].name, at + sizes_[i],
             bytes_.size());
      file_.tensors_[i].data = bytes_.subspan(at, sizes_[i]);
      at += sizes_[i];  // within the file
      pad(at);
    }
  }

  GgufFile& file_;
  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
  uint64_t key_count_ = 0;
  uint64_t tensor_count_ = 0;
  uint64_t next_offset_ = 0;
  std::vector<uint64_t> sizes_;  // bytes of each tensor
};

GgufFile::GgufFile(const fs::path& path) : file_(path), origin_(path.string()) {
  Parser(*this, {file_.data(), file_.size()}).run();
}

GgufFile::GgufFile(std::span<const std::byte> bytes, std::string origin)
    : origin_(std::move(origin)) {
  Parser(*this, bytes).run();
}

bool GgufFile::looks_like_gguf(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  return file.read(magic, 4) && std::string_view(magic, 4) == "GGUF";
}

const GgufValue* GgufFile::find(std::string_view key) const {
  const auto found = values_.find(key);
  return found == values_.end() ? nullptr : &found->second;
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

const GgufValue& GgufFile::require(std::string_view key, GgufType type, bool is_array) const {
  const GgufValue* value = find(key);
  if (!value) fail_user("{}: key {} is missing", origin_, key);
  if (value->type != type || value->is_array != is_array)
    fail_user("{}: key {} is {}{}, expected {}{}", origin_, key,
              value->is_array ? "an array of " : "", name_of(value->type),
              is_array ? "an array of " : "", name_of(type));
  return *value;
}

uint32_t GgufFile::u32(std::string_view key) const {
  return load<uint32_t>(require(key, GgufType::u32, false).bytes.data());
}
float GgufFile::f32(std::string_view key) const {
  return load<float>(require(key, GgufType::f32, false).bytes.data());
}
bool GgufFile::boolean(std::string_view key) const {
  return require(key, GgufType::boolean, false).bytes[0] != std::byte{0};
}
std::string_view GgufFile::text(std::string_view key) const {
  const auto bytes = require(key, GgufType::text, false).bytes;
  return text_at(bytes.data() + 8, bytes.size() - 8);
}

std::vector<std::string_view> GgufFile::texts(std::string_view key) const {
  const GgufValue& value = require(key, GgufType::text, true);
  std::vector<std::string_view> result;
  result.reserve(value.count);  // the parser has walked all of them
  const std::byte* at = value.bytes.data();
  for (uint64_t i = 0; i < value.count; ++i) {
    const auto length = load<uint64_t>(at);
    result.push_back(text_at(at + 8, length));
    at += 8 + length;
  }
  return result;
}

std::vector<int32_t> GgufFile::i32s(std::string_view key) const {
  const GgufValue& value = require(key, GgufType::i32, true);
  std::vector<int32_t> result(value.count);
  if (value.count > 0) std::memcpy(result.data(), value.bytes.data(), value.bytes.size());
  return result;
}

std::vector<float> GgufFile::f32s(std::string_view key) const {
  const GgufValue& value = require(key, GgufType::f32, true);
  std::vector<float> result(value.count);
  if (value.count > 0) std::memcpy(result.data(), value.bytes.data(), value.bytes.size());
  return result;
}

std::optional<uint32_t> GgufFile::find_u32(std::string_view key) const {
  return find(key) ? std::optional(u32(key)) : std::nullopt;
}
std::optional<float> GgufFile::find_f32(std::string_view key) const {
  return find(key) ? std::optional(f32(key)) : std::nullopt;
}
std::optional<bool> GgufFile::find_boolean(std::string_view key) const {
  return find(key) ? std::optional(boolean(key)) : std::nullopt;
}
std::optional<std::string_view> GgufFile::find_text(std::string_view key) const {
  return find(key) ? std::optional(text(key)) : std::nullopt;
}

}  // namespace isoflop
