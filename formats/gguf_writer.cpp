#include "core/error.hpp"
#include "core/math.hpp"
#include "formats/gguf.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

namespace isoflop {

namespace {

constexpr uint64_t kDataAlignment = 32;  // the default of the format; no key needed
constexpr size_t kMostTensorName = 63;

template <class T>
void append(std::string& out, T value) {
  char raw[sizeof(T)];
  std::memcpy(raw, &value, sizeof(T));
  out.append(raw, sizeof(T));
}

void append_text(std::string& out, std::string_view text) {
  append(out, uint64_t{text.size()});
  out.append(text);
}

uint64_t padded(uint64_t bytes) {
  return (bytes + kDataAlignment - 1) / kDataAlignment * kDataAlignment;
}

}  // namespace

GgufWriter::GgufWriter(fs::path path)
    : path_(std::move(path)), temporary_(temporary_name(path_)), file_(nullptr, &std::fclose) {
  file_.reset(std::fopen(temporary_.c_str(), "wb"));
  if (!file_) fail_io("cannot create {}: {}", temporary_.string(), std::strerror(errno));
}

GgufWriter::~GgufWriter() {
  if (temporary_.empty()) return;
  file_.reset();
  std::error_code ignored;
  fs::remove(temporary_, ignored);
}

void GgufWriter::put_key(std::string_view key, GgufType type) {
  ISOFLOP_CHECK(!header_written_, "key {} comes after the data", key);
  if (key.empty()) fail_user("{}: a key with an empty name", path_.string());
  if (!key_names_.emplace(key).second) fail_user("{}: key {} appears twice", path_.string(), key);
  append_text(keys_, key);
  append(keys_, static_cast<uint32_t>(type));
}

void GgufWriter::put_u32(std::string_view key, uint32_t value) {
  put_key(key, GgufType::u32);
  append(keys_, value);
}
void GgufWriter::put_f32(std::string_view key, float value) {
  put_key(key, GgufType::f32);
  append(keys_, value);
}
void GgufWriter::put_boolean(std::string_view key, bool value) {
  put_key(key, GgufType::boolean);
  append(keys_, uint8_t{value});
}
void GgufWriter::put_text(std::string_view key, std::string_view value) {
  put_key(key, GgufType::text);
  append_text(keys_, value);
}
void GgufWriter::put_texts(std::string_view key, const std::vector<std::string>& values) {
  put_key(key, GgufType::array);
  append(keys_, static_cast<uint32_t>(GgufType::text));
  append(keys_, uint64_t{values.size()});
  for (const std::string& value : values) append_text(keys_, value);
}
void GgufWriter::put_i32s(std::string_view key, const std::vector<int32_t>& values) {
  put_key(key, GgufType::array);
  append(keys_, static_cast<uint32_t>(GgufType::i32));
  append(keys_, uint64_t{values.size()});
  for (const int32_t value : values) append(keys_, value);
}

void GgufWriter::put_f32s(std::string_view key, const std::vector<float>& values) {
  put_key(key, GgufType::array);
  append(keys_, static_cast<uint32_t>(GgufType::f32));
  append(keys_, uint64_t{values.size()});
  for (const float value : values) append(keys_, value);
}

void GgufWriter::add_tensor(std::string_view name,
                            const std::vector<int64_t>& dims,
                            BlockType type) {
  ISOFLOP_CHECK(!header_written_, "tensor {} comes after the data", name);
  if (name.empty() || name.size() > kMostTensorName)
    fail_user("{}: tensor name \"{}\" has {} bytes, not 1 to {}", path_.string(), name, name.size(),
              kMostTensorName);
  if (!tensor_names_.emplace(name).second)
    fail_user("{}: tensor {} appears twice", path_.string(), name);
  if (dims.empty() || dims.size() > 4)
    fail_user("{}: tensor {} has {} dimensions, not 1 to 4", path_.string(), name, dims.size());
  const BlockCodec& codec = block_codec(type);
  if (!codec.fits(dims[0]))
    fail_user("{}: tensor {} has rows of {} values, not a multiple of {}'s block of {}",
              path_.string(), name, dims[0], codec.name, codec.block_elements);
  append_text(records_, name);
  append(records_, static_cast<uint32_t>(dims.size()));
  uint64_t blocks = 1;
  for (size_t i = 0; i < dims.size(); ++i) {
    const int64_t extent = i == 0 ? dims[i] / codec.block_elements : dims[i];
    if (dims[i] < 1 || !checked_multiply(blocks, static_cast<uint64_t>(extent), blocks))
      fail_user("{}: tensor {} has an impossible dimension {}", path_.string(), name, dims[i]);
    append(records_, dims[i]);
  }
  uint64_t bytes = 0;
  if (!checked_multiply(blocks, static_cast<uint64_t>(codec.block_bytes), bytes) ||
      bytes > uint64_t{1} << 60)
    fail_user("{}: tensor {} is too large", path_.string(), name);
  append(records_, static_cast<uint32_t>(type));
  append(records_, data_bytes_);
  data_bytes_ += padded(bytes);
  tensors_.push_back({std::string(name), bytes});
}

void GgufWriter::write_raw(const void* data, size_t bytes) {
  fault_point("write");
  if (bytes > 0 && std::fwrite(data, 1, bytes, file_.get()) != bytes)
    fail_io("cannot write {}: {}", temporary_.string(), std::strerror(errno));
  position_ += bytes;
}

void GgufWriter::write_padding() {
  static constexpr char kZeros[kDataAlignment] = {};
  write_raw(kZeros, padded(position_) - position_);
}

void GgufWriter::write_header() {
  if (std::exchange(header_written_, true)) return;
  std::string head = "GGUF";
  append(head, uint32_t{3});
  append(head, uint64_t{tensors_.size()});
  append(head, uint64_t{key_names_.size()});
  write_raw(head.data(), head.size());
  write_raw(keys_.data(), keys_.size());
  write_raw(records_.data(), records_.size());
  write_padding();
}

void GgufWriter::write(std::string_view name, std::span<const std::byte> bytes) {
  write_header();
  ISOFLOP_CHECK(current_ < tensors_.size() && tensors_[current_].name == name,
                "{} is not the tensor to be written now", name);
  const Record& record = tensors_[current_];
  ISOFLOP_CHECK(bytes.size() <= record.bytes - current_bytes_, "too many bytes for {}", name);
  write_raw(bytes.data(), bytes.size());
  current_bytes_ += bytes.size();
  if (current_bytes_ < record.bytes) return;
  write_padding();
  ++current_;
  current_bytes_ = 0;
}

uint64_t GgufWriter::finish() {
  write_header();
  ISOFLOP_CHECK(current_ == tensors_.size(), "tensor {} was not written", tensors_[current_].name);
  if (std::fclose(file_.release()) != 0)
    fail_io("cannot write {}: {}", temporary_.string(), std::strerror(errno));
  commit_file(temporary_, path_);
  temporary_.clear();
  return position_;
}

}  // namespace isoflop
