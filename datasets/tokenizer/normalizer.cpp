#include "datasets/tokenizer/normalizer.hpp"

#include "core/error.hpp"
#include "core/utf8.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

namespace isoflop {

namespace {

/// Everything below U+0300, whose first byte is this, is in form C whatever stands before it.
constexpr unsigned char kFirstUnstableByte = 0xCC;

/// Whether a character stands in form C as it is, whatever stands before it. May be false for one
/// that does.
bool stable(char32_t value) {
  if (value < 0x300) return true;
  if (value >= 0x1100 && value < 0x1200) return false;  // Hangul letters, composed by arithmetic
  const utf8proc_property_t* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(value));
  constexpr unsigned kNone = 0xFFFF;
  const bool decomposes = property->decomp_seqindex != kNone && property->decomp_type == 0;
  return property->combining_class == 0 && !decomposes && property->comb_index == kNone;
}

/// Canonical decomposition, reordering, composition of one stretch of valid UTF-8.
void append_composed(std::string_view text, std::vector<int32_t>& work, std::string& out) {
  work.clear();
  while (!text.empty()) {
    const CodePoint point = first_code_point(text);
    int32_t parts[32];
    int boundary = 0;
    const auto count =
        utf8proc_decompose_char(static_cast<int32_t>(point.value), parts, 32,
                                static_cast<utf8proc_option_t>(UTF8PROC_DECOMPOSE), &boundary);
    ISOFLOP_CHECK(count > 0 && count <= 32, "U+{:04X} decomposes into {}",
                  static_cast<uint32_t>(point.value), count);
    work.insert(work.end(), parts, parts + count);
    text.remove_prefix(static_cast<size_t>(point.bytes));
  }
  const auto combining = [](int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (auto at = work.begin(); at != work.end();) {
    const auto end = std::find_if(at, work.end(), [&](int32_t c) { return combining(c) == 0; });
    std::stable_sort(at, end, [&](int32_t a, int32_t b) { return combining(a) < combining(b); });
    at = end == work.end() ? end : end + 1;
  }
  const auto composed =
      utf8proc_normalize_utf32(work.data(), static_cast<utf8proc_ssize_t>(work.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  ISOFLOP_CHECK(composed >= 0, "utf8proc answers {}", composed);
  for (utf8proc_ssize_t i = 0; i < composed; ++i)
    append_utf8(out, static_cast<char32_t>(work[static_cast<size_t>(i)]));
}

}  // namespace

bool surely_nfc(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) >= kFirstUnstableByte; });
}

std::string to_nfc(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  std::vector<int32_t> work;
  size_t copied = 0;    // all before is in `out`
  size_t previous = 0;  // the last character, which what follows may combine with
  for (size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      previous = at++;
      continue;
    }
    CodePoint point = first_code_point(text.substr(at));
    if (point.bytes == 0) {
      previous = ++at;
      continue;
    }
    if (stable(point.value)) {
      previous = at;
      at += static_cast<size_t>(point.bytes);
      continue;
    }
    do at += static_cast<size_t>(point.bytes);
    while ((point = first_code_point(text.substr(at))).bytes > 0 && !stable(point.value));
    out += text.substr(copied, previous - copied);
    append_composed(text.substr(previous, at - previous), work, out);
    copied = previous = at;
  }
  out += text.substr(copied);
  return out;
}

}  // namespace isoflop
