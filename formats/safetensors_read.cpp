#include "core/math.hpp"
#include "formats/json_events.hpp"
#include "formats/safetensors.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

namespace isoflop {

namespace {

constexpr std::string_view kMetadata = "__metadata__";

/// Types of the format that are whole bytes.
constexpr std::pair<std::string_view, uint64_t> kTypes[] = {
    {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
    {"U16", 2},  {"I16", 2}, {"F16", 2}, {"BF16", 2},    {"U32", 4},
    {"I32", 4},  {"F32", 4}, {"U64", 8}, {"I64", 8},     {"F64", 8}};

const std::pair<std::string_view, uint64_t>* find_type(std::string_view name) {
  const auto* found = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](const auto& type) { return type.first == name; });
  return found == std::end(kTypes) ? nullptr : found;
}

/// A tensor as the header has it; begin and end count from the start of the data.
struct Entry {
  SafetensorsTensor tensor;
  uint64_t begin = 0, end = 0;
};

class HeaderEvents : public JsonEvents {
 public:
  HeaderEvents(const std::string& origin, uint64_t data_bytes)
      : JsonEvents(origin, 3), data_bytes_(data_bytes) {}
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;

 private:
  bool in_metadata() const { return path().size() == 2 && path()[0] == kMetadata; }
  bool is_field(std::string_view name) const {
    return path().size() == 2 && path()[0] != kMetadata && path()[1] == name;
  }
  std::string tensor() const { return "tensor " + path()[0]; }

  void on_open(bool list) override {
    if (path().size() == 1 && !list) {
      current_ = Entry();
      offsets_.clear();
      has_shape_ = false;
    } else if (is_field("shape") && list && !in_list()) {
      has_shape_ = true;
    } else if (!path().empty() && !(is_field("data_offsets") && list && !in_list())) {
      refuse(list ? "a list" : "an object");
    }
  }
  void on_text(const std::string& value) override {
    if (in_metadata()) {
      metadata.emplace(path()[1], value);
    } else if (is_field("dtype") && !in_list()) {
      const auto* type = find_type(value);
      if (!type) fail("{} has the unknown type \"{}\"", tensor(), value);
      current_.tensor.type = type->first;
    } else {
      refuse("a text");
    }
  }
  void on_number(uint64_t value) override {
    if (is_field("shape") && in_list()) {
      if (value > uint64_t{1} << 62) fail("{} has a dimension of {}", tensor(), value);
      current_.tensor.shape.push_back(static_cast<int64_t>(value));
    } else if (is_field("data_offsets") && in_list()) {
      if (offsets_.size() == 2) fail("{} has more than two data_offsets", tensor());
      offsets_.push_back(value);
    } else {
      refuse("a number");
    }
  }
  void on_close() override {
    if (path().size() != 1 || path()[0] == kMetadata) return;
    if (current_.tensor.type.empty()) fail("{} has no dtype", tensor());
    if (!has_shape_) fail("{} has no shape", tensor());
    if (offsets_.size() != 2) fail("{} has no data_offsets of begin and end", tensor());
    current_.begin = offsets_[0];
    current_.end = offsets_[1];
    if (current_.begin > current_.end || current_.end > data_bytes_)
      fail("{} lies at bytes {} to {} of {} bytes of data", tensor(), current_.begin, current_.end,
           data_bytes_);
    require_size();
    current_.tensor.name = path()[0];
    entries.push_back(std::move(current_));
  }
  void require_size() {
    uint64_t bytes = find_type(current_.tensor.type)->second;
    for (const int64_t dim : current_.tensor.shape)
      if (!checked_multiply(bytes, static_cast<uint64_t>(dim), bytes))
        fail("the size of {} overflows", tensor());
    if (bytes != current_.end - current_.begin)
      fail("{} has {} bytes of data, its dtype and shape ask for {}", tensor(),
           current_.end - current_.begin, bytes);
  }

  uint64_t data_bytes_;
  Entry current_;
  std::vector<uint64_t> offsets_;
  bool has_shape_ = false;
};

class IndexEvents : public JsonEvents {
 public:
  explicit IndexEvents(const std::string& origin) : JsonEvents(origin, 2) {}
  std::map<std::string, std::string> files;

 private:
  void on_open(bool list) override {
    if (list) refuse("a list");
  }
  void on_text(const std::string& value) override {
    if (path().size() != 2 || path()[0] != "weight_map") {
      if (path().size() == 2 && path()[0] == "metadata") return;
      refuse("a text");
    }
    const bool plain = value.size() <= 255 && value.find_first_of("/\\") == value.npos &&
                       value.find('\0') == value.npos && !value.empty() && value[0] != '.' &&
                       value.ends_with(".safetensors");
    if (!plain)
      fail(
          "{} names the file \"{}\"; only plain names of .safetensors files beside the index are "
          "opened",
          path()[1], value.substr(0, 255));
    files.emplace(path()[1], value);
  }
  void on_number(uint64_t) override {
    if (path().size() != 2 || path()[0] != "metadata") refuse("a number");
  }
};

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

}  // namespace

std::string_view safetensors_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    default:
      break;
  }
  ISOFLOP_CHECK(false, "{} is not written to safetensors", name_of(dtype));
}

int64_t SafetensorsTensor::count() const {
  return static_cast<int64_t>(data.size() / find_type(type)->second);
}

bool SafetensorsTensor::is_float() const {
  return type == "F32" || type == "F16" || type == "BF16";
}

void SafetensorsTensor::values(int64_t first, std::span<float> out) const {
  ISOFLOP_CHECK(is_float() && first >= 0 && first <= count() &&
                    static_cast<int64_t>(out.size()) <= count() - first,
                "{} has no such values", name);
  const size_t width = find_type(type)->second;
  const std::byte* at = data.data() + static_cast<size_t>(first) * width;
  if (out.empty()) return;
  if (width == sizeof(float)) {
    std::memcpy(out.data(), at, out.size_bytes());
  } else if (type == "F16") {
    for (size_t i = 0; i < out.size(); ++i) out[i] = to_float(load<f16>(at + i * width));
  } else {
    for (size_t i = 0; i < out.size(); ++i) out[i] = to_float(load<bf16>(at + i * width));
  }
}

SafetensorsFile::SafetensorsFile(const fs::path& path) : file_(path), origin_(path.string()) {
  read({file_.data(), file_.size()});
}

SafetensorsFile::SafetensorsFile(std::span<const std::byte> bytes, std::string origin)
    : origin_(std::move(origin)) {
  read(bytes);
}

void SafetensorsFile::read(std::span<const std::byte> bytes) {
  constexpr size_t kPrefix = 8;
  if (bytes.size() < kPrefix)
    fail_format("{}: {} bytes are too few for a safetensors file", origin_, bytes.size());
  const auto header = load<uint64_t>(bytes.data());
  if (header > kMostHeaderBytes || header > bytes.size() - kPrefix)
    fail_format("{}: a header of {} bytes in a file of {}; it may have {}", origin_, header,
                bytes.size(), kMostHeaderBytes);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kPrefix, header);
  if (text.empty() || text[0] != '{')
    fail_format("{}: the header at byte {} does not begin with {{", origin_, kPrefix);
  const std::span<const std::byte> data = bytes.subspan(kPrefix + header);
  HeaderEvents events(origin_, data.size());
  events.parse(text);

  std::vector<Entry>& entries = events.entries;
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t covered = 0;
  for (Entry& entry : entries) {
    if (entry.begin != covered)
      fail_format("{}: tensor {} begins at byte {} of the data, the one before it ends at {}",
                  origin_, entry.tensor.name, entry.begin, covered);
    covered = entry.end;
    entry.tensor.data = data.subspan(entry.begin, entry.end - entry.begin);
    tensors_.push_back(std::move(entry.tensor));
  }
  if (covered != data.size())
    fail_format("{}: {} bytes of data, but the tensors end at {}", origin_, data.size(), covered);
  for (size_t i = 0; i < tensors_.size(); ++i) index_.emplace(tensors_[i].name, i);
  metadata_ = std::move(events.metadata);
}

const SafetensorsTensor* SafetensorsFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

std::map<std::string, std::string> parse_safetensors_index(std::string_view text,
                                                           const std::string& origin) {
  if (text.size() > SafetensorsFile::kMostHeaderBytes)
    fail_format("{}: an index of {} bytes is too large", origin, text.size());
  IndexEvents events(origin);
  events.parse(text);
  if (events.files.empty()) fail_format("{}: weight_map is missing or empty", origin);
  return std::move(events.files);
}

SafetensorsFolder::SafetensorsFolder(const fs::path& folder) {
  const fs::path index_path = folder / kSafetensorsIndex;
  if (!fs::exists(index_path)) {
    if (!fs::exists(folder / kSafetensorsSingle))
      fail_user("{} has neither {} nor {}{}", folder.string(), kSafetensorsSingle,
                kSafetensorsIndex,
                fs::exists(folder / "pytorch_model.bin")
                    ? "; pytorch_model.bin is a Python program, which is not run: have its maker "
                      "save it as safetensors"
                    : "");
    add(folder / kSafetensorsSingle);
    return;
  }
  const MappedFile text(index_path);
  const auto map = parse_safetensors_index(text.text(), index_path.string());
  std::set<std::string> names;
  for (const auto& [tensor, file] : map) names.insert(file);
  for (const std::string& name : names) {
    add(folder / name);
    for (const SafetensorsTensor& tensor : files_.back()->tensors()) {
      const auto listed = map.find(tensor.name);
      if (listed == map.end() || listed->second != name)
        fail_format("{}: tensor {} is in {}, but the index says {}", index_path.string(),
                    tensor.name, name, listed == map.end() ? "nothing of it" : listed->second);
    }
  }
  for (const auto& [tensor, file] : map)
    if (!find(tensor)) fail_format("{}: tensor {} is not in {}", index_path.string(), tensor, file);
}

void SafetensorsFolder::add(const fs::path& path) {
  files_.push_back(std::make_unique<SafetensorsFile>(path));
  for (const SafetensorsTensor& tensor : files_.back()->tensors())
    index_.emplace(tensor.name, &tensor);
}

const SafetensorsTensor* SafetensorsFolder::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : found->second;
}

}  // namespace isoflop
