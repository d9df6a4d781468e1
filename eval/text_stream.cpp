#include "eval/text_stream.hpp"

#include "core/utf8.hpp"

#include <algorithm>

namespace isoflop {

namespace {

constexpr char32_t kReplacement = 0xFFFD;

/// True when more bytes could make `text`, shorter than a character, begin with one.
bool may_become_character(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC2 ? 2 : 1;
  if (lead > 0xF4 || text.size() >= bytes) return false;
  // The smallest and the largest continuation decide for all between.
  for (const char fill : {'\x80', '\xBF'}) {
    std::string whole(text);
    whole.resize(bytes, fill);
    if (first_code_point(whole).bytes > 0) return true;
  }
  return false;
}

}  // namespace

void take_characters(std::string& bytes, std::string& text, bool all) {
  std::string_view left = bytes;
  while (!left.empty()) {
    const size_t valid = valid_utf8_prefix(left);
    text += left.substr(0, valid);
    left.remove_prefix(valid);
    if (left.empty() || (!all && may_become_character(left))) break;
    append_utf8(text, kReplacement);
    left.remove_prefix(1);
  }
  bytes = std::string(left);
}

TextStream::TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops)
    : tokenizer_(tokenizer), stops_(std::move(stops)) {
  std::erase(stops_, "");
}

std::string TextStream::push(int32_t id) {
  if (stopped_) return {};
  bytes_ += tokenizer_.decode({&id, 1});
  return release(false);
}

std::string TextStream::finish() {
  return stopped_ ? std::string() : release(true);
}

std::string TextStream::release(bool all) {
  take_characters(bytes_, text_, all);
  size_t end = text_.npos, waiting = 0;
  for (const std::string& stop : stops_) {
    end = std::min(end, text_.find(stop));
    for (size_t n = std::min(stop.size() - 1, text_.size()); n > waiting; --n)
      if (text_.ends_with(std::string_view(stop).substr(0, n))) waiting = n;
  }
  if (end != text_.npos) {
    stopped_ = true;
    return text_.substr(0, end);
  }
  if (all) waiting = 0;
  std::string out = text_.substr(0, text_.size() - waiting);
  text_.erase(0, out.size());
  return out;
}

}  // namespace isoflop
