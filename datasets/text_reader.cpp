#include "datasets/text_reader.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace isoflop {

namespace {

constexpr std::string_view kSeparator = "<|endoftext|>";
constexpr size_t kReadBytes = 1 << 20;
constexpr size_t kLookahead = 64;  // enough to see a whole separator line or a whole character
constexpr size_t kNone = std::string_view::npos;

bool is_ascii_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}
bool is_ascii_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_continuation(char c) {
  return (static_cast<uint8_t>(c) & 0xC0) == 0x80;
}

bool is_blank(std::string_view text) {
  return std::all_of(text.begin(), text.end(), is_ascii_space);
}

// Whether the character at `at` may be white space. Beyond ASCII only its first two bytes are
// looked at (U+0085, U+00A0, U+1680, U+2000 to U+206F, U+3000), so some punctuation counts too,
// which is harmless.
bool may_be_space(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
  if (byte(at) < 0x80) return is_ascii_space(text[at]);
  return byte(at) == 0xC2 || (byte(at) == 0xE1 && byte(at + 1) == 0x9A) ||
         (byte(at) == 0xE2 && (byte(at + 1) == 0x80 || byte(at + 1) == 0x81)) ||
         (byte(at) == 0xE3 && byte(at + 1) == 0x80 && byte(at + 2) == 0x80);
}

// The same for the character that ends before `at`; at least 4 bytes precede it.
bool may_be_space_before(std::string_view text, size_t at) {
  size_t start = at - 1;
  while (start > at - 4 && is_continuation(text[start])) --start;
  return may_be_space(text, start);
}

// Whether text[0, at) and text[at, ...) tokenize to the ids of the whole: see the header.
bool is_safe_cut(std::string_view text, size_t at) {
  if (text[at] == ' ') return is_ascii_letter(text[at + 1]) && !may_be_space_before(text, at);
  return text[at - 1] == '\n' && !may_be_space(text, at) && !may_be_space_before(text, at - 1);
}

// First position in [from, to) that is a safe cut; text goes on for kLookahead bytes or ends at
// `to`.
size_t find_safe_cut(std::string_view text, size_t from, size_t to) {
  for (size_t at = from; at + 1 < to; ++at)
    if ((text[at] == ' ' || text[at - 1] == '\n') && is_safe_cut(text, at)) return at;
  return kNone;
}

// The first separator line: where it starts and how long it is with its line end.
std::pair<size_t, size_t> find_separator(std::string_view text, bool at_line_start) {
  for (size_t at = text.find(kSeparator); at != kNone; at = text.find(kSeparator, at + 1)) {
    if (at == 0 ? !at_line_start : text[at - 1] != '\n') continue;
    std::string_view rest = text.substr(at + kSeparator.size());
    if (rest.empty()) return {at, kSeparator.size()};
    const size_t end = rest.starts_with("\r\n") ? 2 : rest[0] == '\n' ? 1 : 0;
    if (end > 0) return {at, kSeparator.size() + end};
  }
  return {kNone, 0};
}

}  // namespace

TextReader::TextReader(const Corpus& corpus, std::vector<uint64_t> cuts)
    : corpus_(corpus), cuts_(std::move(cuts)) {
  ISOFLOP_CHECK(cuts_.empty() || cuts_.size() == corpus.files().size(), "{} cuts", cuts_.size());
}

bool TextReader::open_next() {
  if (next_file_ == corpus_.files().size()) return false;
  file_ = corpus_.files()[next_file_++].open();
  hasher_ = std::make_unique<Hasher>();
  buffer_.clear();
  begin_ = 0;
  offset_ = file_bytes_ = 0;
  file_ended_ = in_document_ = false;
  at_line_start_ = true;
  fill(kReadBytes);
  if (unread().starts_with("\xEF\xBB\xBF")) begin_ = offset_ = 3;
  return true;
}

void TextReader::close_file() {
  const TextFile& file = corpus_.files()[next_file_ - 1];
  if (file_bytes_ != file.bytes)
    fail_user("{} had {} bytes and now has {}: it changed while it was being read; start again",
              file.name, file.bytes, file_bytes_);
  sources_.push_back({file.name, file.bytes, hasher_->digest()});
  file_.reset();
}

// Reads on until `wanted` bytes are at hand or the file ends.
void TextReader::fill(size_t wanted) {
  if (file_ended_ || buffer_.size() - begin_ >= wanted) return;
  buffer_.erase(0, begin_);
  begin_ = 0;
  while (!file_ended_ && buffer_.size() < wanted) {
    const size_t old_size = buffer_.size();
    buffer_.resize(old_size + kReadBytes);
    const size_t got = file_->read(file_bytes_, std::span(buffer_).subspan(old_size));
    buffer_.resize(old_size + got);
    const char* const fresh = buffer_.data() + old_size;
    if (const void* zero = std::memchr(fresh, 0, got))
      fail_user("{} is not text: there is a zero byte at offset {}",
                corpus_.files()[next_file_ - 1].name,
                file_bytes_ + static_cast<uint64_t>(static_cast<const char*>(zero) - fresh));
    hasher_->update(fresh, got);
    file_bytes_ += got;
    bytes_read_ += got;
    file_ended_ = got < kReadBytes;
  }
}

// The earliest of separator, forced cut, safe cut past kPieceBytes and end of file. More is read
// until one of them is certain, so the answer does not depend on how much was in the buffer.
TextReader::Break TextReader::find_break() {
  const uint64_t cut = cuts_.empty() ? 0 : cuts_[next_file_ - 1];
  for (size_t wanted = kPieceBytes + kLookahead;; wanted *= 2) {
    fill(wanted);
    const std::string_view text = unread();
    const size_t certain = file_ended_ ? text.size() : text.size() - kLookahead;
    Break end{text.size(), 0, true};
    bool found = file_ended_;
    const auto [separator, separator_bytes] = find_separator(text, at_line_start_);
    if (separator < certain) {
      end = {separator, separator_bytes, true};
      found = true;
    }
    if (cut > offset_ && cut - offset_ < std::min(end.length, certain)) {
      end = {static_cast<size_t>(cut - offset_), 0, true};
      found = true;
    }
    if (found && end.length <= kPieceBytes) return end;
    const size_t limit = std::min({end.length, certain, kLongestPiece});
    const size_t safe = find_safe_cut(text, kPieceBytes, limit);
    if (safe != kNone) return {safe, 0, false};
    if (found && end.length <= kLongestPiece) return end;
    if (limit == kLongestPiece) {
      size_t at = kLongestPiece;
      while (at > kLongestPiece - 4 && is_continuation(text[at])) --at;
      return {at, 0, false};
    }
  }
}

bool TextReader::next(TextPiece& piece) {
  while (true) {
    if (!file_ && !open_next()) return false;
    fill(kPieceBytes + kLookahead);
    if (unread().empty() && !in_document_) {
      close_file();
      continue;
    }
    const Break found = find_break();
    piece = {unread().substr(0, found.length), !in_document_, found.ends_document, next_file_ - 1,
             offset_};
    const size_t consumed = found.length + found.skip;
    if (consumed > 0) at_line_start_ = buffer_[begin_ + consumed - 1] == '\n';
    begin_ += consumed;
    offset_ += consumed;
    in_document_ = !found.ends_document;
    if (!(piece.first && piece.last && is_blank(piece.text))) return true;
  }
}

void for_each_document(const Corpus& corpus, const std::function<void(std::string_view)>& work) {
  TextReader reader(corpus);
  for (TextPiece piece; reader.next(piece);)
    if (!piece.text.empty()) work(piece.text);
}

void for_each_document(const std::vector<std::string>& inputs,
                       const std::function<void(std::string_view)>& work) {
  for_each_document(Corpus::open(inputs), work);
}

uint64_t tail_cut(const TextFile& file, double fraction) {
  constexpr uint64_t kReach = 64 << 10;
  const auto open = file.open();
  const auto load = [&](uint64_t first, uint64_t last) {
    std::string text(last - first, '\0');
    text.resize(open->read(first, text));
    return text;
  };
  // Where the text ends, blanks and separators behind it aside.
  const uint64_t last_part = file.bytes - std::min(file.bytes, kReach);
  std::string_view text;
  const std::string ending = load(last_part, file.bytes);
  for (text = ending; !text.empty();) {
    if (is_ascii_space(text.back()))
      text.remove_suffix(1);
    else if (text.ends_with(kSeparator))
      text.remove_suffix(kSeparator.size());
    else
      break;
  }
  const uint64_t end = last_part + text.size();
  const auto target = end - static_cast<uint64_t>(static_cast<double>(end) * fraction);
  const uint64_t first = target - std::min(target, kReach);
  const std::string near = load(first, std::min(end, target + kReach));
  const size_t middle = static_cast<size_t>(target - first);
  const auto inside = [&](size_t at) { return at != kNone && at > 0 && at + 1 < near.size(); };
  for (const char mark : {'\n', ' '}) {
    const size_t after = near.find(mark, middle > 0 ? middle - 1 : 0);
    const size_t before = near.rfind(mark, middle);
    for (const size_t at : {after, before})
      if (inside(at)) return first + at + (mark == '\n' ? 1 : 0);
  }
  size_t at = middle;
  while (at < near.size() && is_continuation(near[at])) ++at;
  return at < near.size() ? first + at : file.bytes;
}

}  // namespace isoflop
