#include "datasets/json_lines.hpp"

#include "core/error.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstring>

namespace isoflop {

namespace {

using Json = nlohmann::json;

// Keeps one field of the outermost object and drops everything else as it is read: no tree is
// built, however deep the line nests.
class FieldReader final : public nlohmann::json_sax<Json> {
 public:
  FieldReader(const std::string& field, std::string& text) : field_(field), text_(text) {}

  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("true or false"); }
  bool number_integer(number_integer_t) override { return other("a number"); }
  bool number_unsigned(number_unsigned_t) override { return other("a number"); }
  bool number_float(number_float_t, const string_t&) override { return other("a number"); }
  bool binary(binary_t&) override { return other("bytes"); }
  bool string(string_t& value) override {
    if (depth_ == 0 || !wanted()) return other("text");
    if (found_) return refuse("has the field \"" + field_ + "\" twice");
    text_.swap(value);
    found_ = true;
    here_ = false;
    return true;
  }
  bool start_object(size_t) override {
    if (depth_ > 0 && wanted()) return other("an object");
    ++depth_;
    return true;
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool start_array(size_t) override {
    if (depth_ == 0 || wanted()) return other("a list");
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(string_t& name) override {
    here_ = depth_ == 1 && name == field_;
    return true;
  }
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    return refuse(fmt::format("is not valid JSON at byte {} of the line", position));
  }

  /// What is wrong with the line, or empty.
  std::string complaint() const {
    if (complaint_.empty() && !found_) return "has no field \"" + field_ + "\"";
    return complaint_;
  }

 private:
  bool wanted() const { return depth_ == 1 && here_; }
  bool other(const char* kind) {
    if (depth_ == 0) return refuse(fmt::format("is {}, not an object", kind));
    if (wanted()) return refuse(fmt::format("has {} in the field \"{}\", not text", kind, field_));
    return true;
  }
  bool refuse(std::string complaint) {
    if (complaint_.empty()) complaint_ = std::move(complaint);
    return false;
  }

  const std::string& field_;
  std::string& text_;
  std::string complaint_;
  int64_t depth_ = 0;
  bool here_ = false;  // the value that comes next belongs to the field
  bool found_ = false;
};

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

}  // namespace

void JsonLines::require_length(size_t bytes) const {
  if (bytes > kLongestLine)
    fail_format("{}: line {} is longer than {} MB; is this a file of JSON lines?", name_, line_ + 1,
                kLongestLine >> 20);
}

bool JsonLines::next_line(std::string_view& line) {
  constexpr size_t kReadBytes = 256 << 10;
  size_t searched = begin_;
  while (true) {
    const size_t end = buffer_.find('\n', searched);
    if (end != std::string::npos || (ended_ && begin_ < buffer_.size())) {
      const size_t stop = end == std::string::npos ? buffer_.size() : end + 1;
      require_length(stop - begin_);
      line = std::string_view(buffer_).substr(begin_, stop - begin_);
      offset_ = next_offset_;
      next_offset_ += line.size();
      begin_ = stop;
      ++line_;
      return true;
    }
    if (ended_) return false;
    buffer_.erase(0, begin_);
    begin_ = 0;
    searched = buffer_.size();
    require_length(searched);
    buffer_.resize(searched + kReadBytes);
    const size_t got = input_.read(std::span(buffer_).subspan(searched));
    buffer_.resize(searched + got);
    ended_ = got < kReadBytes;
  }
}

bool JsonLines::next(std::string& text) {
  for (std::string_view line; next_line(line);) {
    if (line_ == 1 && line.starts_with("\xEF\xBB\xBF")) line.remove_prefix(3);
    if (is_blank(line)) continue;
    FieldReader reader(field_, text);
    Json::sax_parse(line.begin(), line.end(), &reader);
    if (const std::string complaint = reader.complaint(); !complaint.empty())
      fail_format("{}: line {} {}", name_, line_, complaint);
    return true;
  }
  return false;
}

}  // namespace isoflop
