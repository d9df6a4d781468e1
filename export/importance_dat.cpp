#include "export/importance_dat.hpp"

#include "core/error.hpp"
#include "core/math.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace isoflop {

namespace {

/// What is left of the file; every length is compared with it before it is believed.
class Bytes {
 public:
  Bytes(std::string_view bytes, std::string origin) : left_(bytes), origin_(std::move(origin)) {}

  bool empty() const { return left_.empty(); }
  int32_t number(const char* what) {
    int32_t value;
    std::memcpy(&value, take(sizeof(value), what).data(), sizeof(value));
    return value;
  }
  /// As many as `count` says, each of at least `size` bytes.
  int32_t count(const char* what, size_t size) {
    const int32_t value = number(what);
    if (value < 0 || static_cast<uint64_t>(value) > left_.size() / size)
      fail("{} {} for the {} bytes that are left", what, value, left_.size());
    return value;
  }
  std::string_view take(size_t bytes, const char* what) {
    if (bytes > left_.size()) fail("it ends within {}", what);
    const std::string_view taken = left_.substr(0, bytes);
    left_.remove_prefix(bytes);
    at_ += bytes;
    return taken;
  }
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) const {
    fail_format("{} is no importance matrix, of GGUF or of llama-imatrix's .dat: offset {}: {}",
                origin_, at_, fmt::format(text, std::forward<Args>(args)...));
  }

 private:
  std::string_view left_;
  std::string origin_;
  uint64_t at_ = 0;
};

}  // namespace

ImportanceMatrix read_importance_dat(const fs::path& path) {
  const MappedFile file(path);
  Bytes bytes(file.text(), path.string());
  ImportanceMatrix matrix;
  matrix.origin = path.string();
  const int32_t entries = bytes.count("entries", 16);
  if (entries == 0) bytes.fail("it has no entry");
  for (int32_t i = 0; i < entries; ++i) {
    const auto length = bytes.count("length of a name", 1);
    const std::string name(bytes.take(static_cast<size_t>(length), "a name"));
    const int32_t calls = bytes.number("calls");
    const int32_t columns = bytes.count("columns", sizeof(float));
    if (calls < 0 || columns == 0 || name.empty())
      bytes.fail("\"{}\" with {} calls and {} columns", name, calls, columns);
    ImportanceMatrix::Inputs inputs;
    inputs.count = static_cast<float>(calls);
    inputs.sums.resize(static_cast<size_t>(columns));
    const std::string_view values = bytes.take(inputs.sums.size() * sizeof(float), "values");
    std::memcpy(inputs.sums.data(), values.data(), values.size());
    for (const float value : inputs.sums)
      if (!(value >= 0 && std::isfinite(value)))
        bytes.fail("{} holds {}, which is no mean square", name, value);
    if (!matrix.inputs.emplace(name, std::move(inputs)).second)
      bytes.fail("{} is there twice", name);
  }
  if (bytes.empty()) return matrix;
  matrix.chunks = static_cast<uint32_t>(std::max(0, bytes.number("chunks")));
  const auto length = bytes.count("length of the text's name", 1);
  matrix.texts.emplace_back(bytes.take(static_cast<size_t>(length), "the text's name"));
  return matrix;
}

void write_importance_dat(const ImportanceMatrix& matrix, const fs::path& path) {
  std::string bytes;
  const auto put = [&bytes](const auto& value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
  };
  const auto put_text = [&](const std::string& text) {
    put(narrow<int32_t>(text.size()));
    bytes += text;
  };
  const int32_t calls = std::max(1, narrow<int32_t>(matrix.chunks));
  put(narrow<int32_t>(matrix.inputs.size()));
  for (const auto& [name, inputs] : matrix.inputs) {
    put_text(name);
    put(calls);
    put(narrow<int32_t>(inputs.sums.size()));
    for (const float sum : inputs.sums)
      put(static_cast<float>(calls) * (inputs.count > 0 ? sum / inputs.count : 1.0f));
  }
  put(calls);
  put_text(matrix.texts.empty() ? std::string() : matrix.texts.front());
  write_file_atomically(path, bytes);
}

}  // namespace isoflop
