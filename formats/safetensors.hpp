// safetensors (Hugging Face): a JSON header of names, types, shapes and places, then plain
// little-endian data; and folders with one such file or several and an index. No models here.
//
// The readers map the files and trust nothing: the header is bounded before it is read and parsed
// without building it; names are unique; every tensor has exactly the bytes of its type and shape;
// together they cover the data without gap or overlap. Names, shapes and places are all that is
// allocated. A damaged file is a FormatError naming file, tensor and field. docs/formats/
// safetensors.md says what is read and written.
#pragma once
#include "core/dtype.hpp"
#include "core/file.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

/// "F32", "F16" and "BF16": the types that we read values of and write.
std::string_view safetensors_name(DType dtype);

struct SafetensorsTensor {
  std::string name;
  std::string_view type;  // as the file calls it
  std::vector<int64_t> shape;
  std::span<const std::byte> data;  // not aligned

  int64_t count() const;  // elements
  /// Whether values() can read it.
  bool is_float() const;
  /// Elements [first, first + out.size()) as floats.
  void values(int64_t first, std::span<float> out) const;
};

class SafetensorsFile {
 public:
  static constexpr uint64_t kMostHeaderBytes = 100'000'000;  // the format's own limit

  explicit SafetensorsFile(const fs::path& path);
  /// Over bytes the caller keeps alive; `origin` stands for the file in messages.
  SafetensorsFile(std::span<const std::byte> bytes, std::string origin);

  const std::string& origin() const { return origin_; }
  /// In the order of the data.
  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }
  const SafetensorsTensor* find(std::string_view name) const;  // null when absent
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  void read(std::span<const std::byte> bytes);

  MappedFile file_;
  std::string origin_;
  std::vector<SafetensorsTensor> tensors_;
  std::map<std::string_view, size_t> index_;
  std::map<std::string, std::string> metadata_;
};

inline constexpr std::string_view kSafetensorsSingle = "model.safetensors";
inline constexpr std::string_view kSafetensorsIndex = "model.safetensors.index.json";

/// Tensor -> file, as model.safetensors.index.json has it. FormatError for a name that is not plain
/// ("../x", "a/b"), so that nothing outside the folder is opened.
std::map<std::string, std::string> parse_safetensors_index(std::string_view text,
                                                           const std::string& origin);

/// All tensors of a folder: of model.safetensors, or of the files that the index names, each of
/// which must hold exactly the tensors that the index says.
class SafetensorsFolder {
 public:
  explicit SafetensorsFolder(const fs::path& folder);
  const SafetensorsTensor* find(std::string_view name) const;
  const std::vector<std::unique_ptr<SafetensorsFile>>& files() const { return files_; }
  size_t tensor_count() const { return index_.size(); }

 private:
  void add(const fs::path& path);

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::map<std::string_view, const SafetensorsTensor*> index_;
};

struct SafetensorsRecord {
  std::string name;
  std::vector<int64_t> shape;
};

/// Writes a file in pieces: all records first, then the bytes of each tensor in that order.
/// UserError for a name given twice; IoError when the disk fails; nothing is left behind then.
class SafetensorsWriter {
 public:
  SafetensorsWriter(fs::path path, DType dtype, const std::vector<SafetensorsRecord>& records);
  ~SafetensorsWriter();
  /// The next bytes of the data; they may end anywhere.
  void write(std::span<const std::byte> bytes);
  /// Every byte was written: syncs and renames.
  void finish();

 private:
  fs::path path_, temporary_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  uint64_t left_ = 0;
};

/// Records cut into files of at most `most_bytes` (one tensor at least), in order.
std::vector<std::vector<SafetensorsRecord>> cut_into_shards(std::vector<SafetensorsRecord> records,
                                                            DType dtype,
                                                            uint64_t most_bytes);
/// "model-00002-of-00003.safetensors", or kSafetensorsSingle of one.
std::string shard_name(size_t shard, size_t shards);
/// The text of the index of several files.
std::string safetensors_index(const std::vector<std::vector<SafetensorsRecord>>& shards,
                              DType dtype);

}  // namespace isoflop
