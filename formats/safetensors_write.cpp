#include "core/math.hpp"
#include "formats/safetensors.hpp"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstring>
#include <set>
#include <string_view>

namespace isoflop {

namespace {

std::string quoted(const std::string& text) {
  return nlohmann::json(text).dump();
}

uint64_t bytes_of(const SafetensorsRecord& record, DType dtype) {
  uint64_t bytes = size_of(dtype);
  for (const int64_t dim : record.shape)
    ISOFLOP_CHECK(dim >= 0 && checked_multiply(bytes, static_cast<uint64_t>(dim), bytes),
                  "the size of {} overflows", record.name);
  return bytes;
}

}  // namespace

SafetensorsWriter::SafetensorsWriter(fs::path path,
                                     DType dtype,
                                     const std::vector<SafetensorsRecord>& records)
    : path_(std::move(path)), temporary_(temporary_name(path_)), file_(nullptr, &std::fclose) {
  // Older readers fail on files that do not say whose tensors these are.
  std::string text = R"({"__metadata__":{"format":"pt"})";
  std::set<std::string_view> names;
  for (const SafetensorsRecord& record : records) {
    if (!names.insert(record.name).second)
      fail_user("{}: tensor {} appears twice", path_.string(), record.name);
    const uint64_t begin = left_;
    left_ += bytes_of(record, dtype);
    text += fmt::format(R"(,{}:{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})",
                        quoted(record.name), safetensors_name(dtype), fmt::join(record.shape, ","),
                        begin, left_);
  }
  text += "}";
  text.resize(static_cast<size_t>(round_up(static_cast<int64_t>(text.size()), 8)), ' ');
  ISOFLOP_CHECK(text.size() <= SafetensorsFile::kMostHeaderBytes, "{} tensors", records.size());
  const uint64_t size = text.size();
  char prefix[sizeof(size)];
  std::memcpy(prefix, &size, sizeof(size));
  text.insert(0, prefix, sizeof(prefix));

  file_.reset(std::fopen(temporary_.c_str(), "wb"));
  if (!file_) fail_io("cannot create {}: {}", temporary_.string(), std::strerror(errno));
  if (std::fwrite(text.data(), 1, text.size(), file_.get()) != text.size())
    fail_io("cannot write {}: {}", temporary_.string(), std::strerror(errno));
}

SafetensorsWriter::~SafetensorsWriter() {
  if (temporary_.empty()) return;
  file_.reset();
  std::error_code ignored;
  fs::remove(temporary_, ignored);
}

void SafetensorsWriter::write(std::span<const std::byte> bytes) {
  ISOFLOP_CHECK(bytes.size() <= left_, "more bytes than {} has tensors for", path_.string());
  fault_point("write");
  if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size())
    fail_io("cannot write {}: {}", temporary_.string(), std::strerror(errno));
  left_ -= bytes.size();
}

void SafetensorsWriter::finish() {
  ISOFLOP_CHECK(left_ == 0, "{} bytes of {} were not written", left_, path_.string());
  if (std::fclose(file_.release()) != 0)
    fail_io("cannot write {}: {}", temporary_.string(), std::strerror(errno));
  commit_file(temporary_, path_);
  temporary_.clear();
}

std::vector<std::vector<SafetensorsRecord>> cut_into_shards(std::vector<SafetensorsRecord> records,
                                                            DType dtype,
                                                            uint64_t most_bytes) {
  std::vector<std::vector<SafetensorsRecord>> shards;
  uint64_t filled = 0;
  for (SafetensorsRecord& record : records) {
    const uint64_t bytes = bytes_of(record, dtype);
    if (shards.empty() || filled + bytes > most_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    filled += bytes;
    shards.back().push_back(std::move(record));
  }
  return shards;
}

std::string shard_name(size_t shard, size_t shards) {
  if (shards == 1) return std::string(kSafetensorsSingle);
  return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards);
}

std::string safetensors_index(const std::vector<std::vector<SafetensorsRecord>>& shards,
                              DType dtype) {
  uint64_t total = 0;
  std::string files;
  for (size_t i = 0; i < shards.size(); ++i)
    for (const SafetensorsRecord& record : shards[i]) {
      total += bytes_of(record, dtype);
      files += fmt::format("{}\n    {}: \"{}\"", files.empty() ? "" : ",", quoted(record.name),
                           shard_name(i, shards.size()));
    }
  return fmt::format(
      "{{\n  \"metadata\": {{\"total_size\": {}}},\n  \"weight_map\": {{{}\n  }}\n}}\n", total,
      files);
}

}  // namespace isoflop
