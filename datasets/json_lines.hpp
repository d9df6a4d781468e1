// JsonLines: the documents of a JSON lines file, one a line: the text in one field of an object.
// Blank lines are passed over. A line is held as a whole, so its length is limited.
#pragma once
#include "datasets/text_input.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace isoflop {

class JsonLines {
 public:
  static constexpr size_t kLongestLine = 64 << 20;

  /// `input` must outlive this.
  JsonLines(TextInput& input, std::string name, std::string field)
      : input_(input), name_(std::move(name)), field_(std::move(field)) {}

  /// False at the end. FormatError naming file and line when it is too long, not JSON, not an
  /// object, or when the field is missing, comes twice or is no text.
  bool next(std::string& text);
  uint64_t offset() const { return offset_; }  // of the last line in the text of the file

 private:
  bool next_line(std::string_view& line);
  void require_length(size_t bytes) const;

  TextInput& input_;
  std::string name_, field_;
  std::string buffer_;
  size_t begin_ = 0;          // of what was not handed out
  uint64_t next_offset_ = 0;  // of that in the file
  uint64_t offset_ = 0;
  uint64_t line_ = 0;
  bool ended_ = false;
};

}  // namespace isoflop
