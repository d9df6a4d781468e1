// HDF5 files: a small, checked door to the C library (serial HDF5).
//
// What we write is plain on purpose: contiguous little-endian datasets that any HDF5 program opens
// and that a reader may map at their offset; fixed-length UTF-8 strings; no time stamps, so equal
// content gives equal bytes. What we read is held to the same: a dataset that is chunked,
// compressed, stored in another file or reached through a link is refused.
//
// The library itself may read past its buffers when a file's inner structure is damaged (1.10.8
// does, if only by a few bytes), so whoever can check a hash of a file does so before opening it.
//
// Errors: FormatError for anything wrong inside a file we read, IoError when writing fails; the
// text names the call, the file and the object. Calls from several threads are allowed: one
// process-wide lock guards the library, which is not thread-safe by itself.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop::hdf5 {

enum class Type : uint8_t { u8, u16, u32, u64, i32, i64, f32, f64 };

size_t size_of(Type type);
std::string_view name_of(Type type);

template <class T>
constexpr Type type_of();
template <>
constexpr Type type_of<uint8_t>() {
  return Type::u8;
}
template <>
constexpr Type type_of<uint16_t>() {
  return Type::u16;
}
template <>
constexpr Type type_of<uint32_t>() {
  return Type::u32;
}
template <>
constexpr Type type_of<uint64_t>() {
  return Type::u64;
}
template <>
constexpr Type type_of<int32_t>() {
  return Type::i32;
}
template <>
constexpr Type type_of<int64_t>() {
  return Type::i64;
}
template <>
constexpr Type type_of<float>() {
  return Type::f32;
}
template <>
constexpr Type type_of<double>() {
  return Type::f64;
}

struct DatasetInfo {
  Type type = Type::f32;
  std::vector<uint64_t> shape;     // one or two dimensions
  std::optional<uint64_t> offset;  // of the data in the file; none when empty or virtual
  uint64_t elements = 0;           // product of the shape; elements * size_of(type) fits 64 bits
  uint64_t row_elements = 1;       // elements of one step along the first dimension
};

/// A rectangle of a virtual dataset from row `first_row` and column `first_col` on: the rows
/// [source_row, source_row + rows) of dataset `dataset`, of shape `source_shape`, in `file` (a name
/// relative to the folder of the virtual file).
struct VirtualPiece {
  std::string file;
  std::string dataset;
  std::vector<uint64_t> source_shape;
  uint64_t source_row = 0, rows = 0;
  uint64_t first_row = 0, first_col = 0;
};

/// Move-only. Objects are named by absolute paths ("/", "/tokens", "/optimizer/m/head.weight").
class File {
 public:
  /// A new file for writing; one that exists is replaced. The first `user_bytes` (0, 512, 1024,
  /// ...) are left to the caller, who may write to them once the file is closed.
  static File create(const std::filesystem::path& path, uint64_t user_bytes = 0);
  /// Read-only. UserError when there is no readable file, FormatError when it is not HDF5 or
  /// damaged.
  static File open(const std::filesystem::path& path);
  /// Whether the file starts like an HDF5 file, at byte 0 or 4096; false when it cannot be read.
  static bool has_signature(const std::filesystem::path& path);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();  // closes; errors are lost, so a writer calls close() first
  /// Flushes and closes; IoError when something did not reach the file (a full disk).
  void close();

  const std::filesystem::path& path() const { return path_; }
  bool exists(const std::string& object) const;
  /// Names of what a group holds, sorted.
  std::vector<std::string> children(const std::string& group) const;

  // Writing. Missing groups on the way to a dataset are created.
  void create_group(const std::string& group);
  void create_dataset(const std::string& name, Type type, std::span<const uint64_t> shape);
  /// Elements from the start of row `first_row`: whole rows, within the dataset's shape.
  template <class T>
  void write_rows(const std::string& name, uint64_t first_row, std::span<const T> data) {
    write_elements(name, type_of<T>(), first_row, data.data(), data.size());
  }
  template <class T>
  void write_dataset(const std::string& name,
                     std::span<const uint64_t> shape,
                     std::span<const T> data) {
    create_dataset(name, type_of<T>(), shape);
    write_rows<T>(name, 0, data);
  }
  void create_virtual_dataset(const std::string& name,
                              Type type,
                              std::span<const uint64_t> shape,
                              std::span<const VirtualPiece> pieces);
  /// Text of any length as a scalar string dataset; an attribute holds 60 KB at most.
  void write_text(const std::string& name, std::string_view text);
  void set_attribute(const std::string& object, const std::string& name, std::string_view value);
  void set_attribute(const std::string& object, const std::string& name, uint64_t value);
  void set_attribute(const std::string& object, const std::string& name, int64_t value);
  void set_attribute(const std::string& object, const std::string& name, double value);
  void set_attribute(const std::string& object,
                     const std::string& name,
                     std::span<const uint64_t> values);

  // Reading.
  DatasetInfo info(const std::string& name) const;
  /// Whole rows from row `first_row`; the dataset must have exactly this element type.
  template <class T>
  void read_rows(const std::string& name, uint64_t first_row, std::span<T> out) const {
    read_elements(name, type_of<T>(), first_row, out.data(), out.size());
  }
  /// A whole dataset; FormatError beyond `max_elements`.
  template <class T>
  std::vector<T> read_dataset(const std::string& name, uint64_t max_elements) const {
    std::vector<T> out(checked_elements(name, type_of<T>(), max_elements));
    read_rows<T>(name, 0, out);
    return out;
  }
  std::string read_text(const std::string& name) const;
  bool has_attribute(const std::string& object, const std::string& name) const;
  std::string string_attribute(const std::string& object, const std::string& name) const;
  uint64_t u64_attribute(const std::string& object, const std::string& name) const;
  int64_t i64_attribute(const std::string& object, const std::string& name) const;
  double f64_attribute(const std::string& object, const std::string& name) const;
  std::vector<uint64_t> u64s_attribute(const std::string& object, const std::string& name) const;

 private:
  File(std::filesystem::path file_path, int64_t handle, bool writing);
  int64_t check(int64_t result, const char* call, const std::string& object) const;
  void require_plain_path(const std::string& object) const;
  void write_elements(
      const std::string& name, Type type, uint64_t first_row, const void* data, uint64_t elements);
  void read_elements(
      const std::string& name, Type type, uint64_t first_row, void* out, uint64_t elements) const;
  uint64_t checked_elements(const std::string& name, Type type, uint64_t max_elements) const;
  void write_attribute(const std::string& object,
                       const std::string& name,
                       int64_t type,
                       const void* data,
                       std::optional<uint64_t> count);
  using AttributeReader = std::function<void(int64_t attribute, int64_t type, uint64_t count)>;
  void read_attribute(const std::string& object,
                      const std::string& name,
                      const AttributeReader& read) const;

  std::filesystem::path path_;
  int64_t handle_ = -1;
  bool writing_ = false;
};

}  // namespace isoflop::hdf5
