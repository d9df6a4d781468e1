#include "datasets/text_reader.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

namespace isoflop {

namespace {

constexpr std::string_view kSeparator = "<|endoftext|>";
constexpr size_t kReadBytes = 1 << 20;
constexpr size_t kLookahead = 64;  // enough to see a whole separator line or a whole character
constexpr size_t kNone = std::string_view::npos;
constexpr uint64_t kReach = 64 << 10;  // around the place where a file is to be cut

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
  const TextFile& file = corpus_.files()[next_file_++];
  input_ = std::make_unique<TextInput>(file);
  lines_.reset();
  if (!file.field.empty()) lines_ = std::make_unique<JsonLines>(*input_, file.name, file.field);
  buffer_.clear();
  begin_ = 0;
  offset_ = text_bytes_ = 0;
  in_document_ = false;
  at_line_start_ = true;
  text_ended_ = lines_ != nullptr;  // an empty text, until there is a line
  if (lines_) return true;
  fill(kReadBytes);
  if (unread().starts_with("\xEF\xBB\xBF")) begin_ = offset_ = 3;
  return true;
}

void TextReader::close_file() {
  const TextFile& file = corpus_.files()[next_file_ - 1];
  if (input_->file_bytes() != file.bytes)
    fail_user("{} had {} bytes and now has {}: it changed while it was being read; start again",
              file.name, file.bytes, input_->file_bytes());
  sources_.push_back({file.name, file.bytes, input_->file_hash()});
  bytes_closed_ += file.bytes;
  lines_.reset();
  input_.reset();
}

// The text of the next JSON line becomes the buffer, as if it were a file of its own.
bool TextReader::next_line() {
  begin_ = 0;
  buffer_.clear();
  if (!lines_->next(buffer_)) return false;
  offset_ = lines_->offset();
  return true;
}

// Reads on until `wanted` bytes are at hand or the text ends.
void TextReader::fill(size_t wanted) {
  if (text_ended_ || buffer_.size() - begin_ >= wanted) return;
  buffer_.erase(0, begin_);
  begin_ = 0;
  while (!text_ended_ && buffer_.size() < wanted) {
    const size_t old_size = buffer_.size();
    buffer_.resize(old_size + kReadBytes);
    const size_t got = input_->read(std::span(buffer_).subspan(old_size));
    buffer_.resize(old_size + got);
    const char* const fresh = buffer_.data() + old_size;
    if (const void* zero = std::memchr(fresh, 0, got))
      fail_user("{} is not text: there is a zero byte at offset {}",
                corpus_.files()[next_file_ - 1].name,
                text_bytes_ + static_cast<uint64_t>(static_cast<const char*>(zero) - fresh));
    text_bytes_ += got;
    text_ended_ = got < kReadBytes;
  }
}

// The earliest of separator, forced cut, safe cut past kPieceBytes and end of file. More is read
// until one of them is certain, so the answer does not depend on how much was in the buffer.
TextReader::Break TextReader::find_break() {
  const uint64_t cut = cuts_.empty() || lines_ ? 0 : cuts_[next_file_ - 1];
  for (size_t wanted = kPieceBytes + kLookahead;; wanted *= 2) {
    fill(wanted);
    const std::string_view text = unread();
    const size_t certain = text_ended_ ? text.size() : text.size() - kLookahead;
    Break end{text.size(), 0, true};
    bool found = text_ended_;
    const auto [separator, separator_bytes] =
        lines_ ? std::pair(kNone, size_t{0}) : find_separator(text, at_line_start_);
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
    if (!input_ && !open_next()) return false;
    fill(kPieceBytes + kLookahead);
    if (unread().empty() && !in_document_ && !(lines_ && next_line())) {
      close_file();
      continue;
    }
    const Break found = find_break();
    piece = {unread().substr(0, found.length), !in_document_, found.ends_document, next_file_ - 1,
             offset_};
    const size_t consumed = found.length + found.skip;
    if (consumed > 0) at_line_start_ = buffer_[begin_ + consumed - 1] == '\n';
    begin_ += consumed;
    if (!lines_) offset_ += consumed;
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

namespace {

// Bytes [first, last) of a file's text; a packed file is unpacked up to there.
std::string load_text(const TextFile& file, uint64_t first, uint64_t last) {
  std::string text(last - first, '\0');
  if (file.packing == Packing::none) {
    text.resize(file.open()->read(first, text));
    return text;
  }
  TextInput input(file);
  std::vector<char> skipped(1 << 18);
  for (uint64_t left = first; left > 0;) {
    const size_t part = std::min<uint64_t>(left, skipped.size());
    if (input.read(std::span(skipped).first(part)) < part) return {};
    left -= part;
  }
  text.resize(input.read(text));
  return text;
}

uint64_t text_size(const TextFile& file) {
  if (file.packing == Packing::none) return file.bytes;
  TextInput input(file);
  std::vector<char> buffer(1 << 18);
  for (uint64_t size = 0;;) {
    const size_t got = input.read(buffer);
    size += got;
    if (got < buffer.size()) return size;
  }
}

// Where the text ends, blanks and separators behind it aside.
uint64_t text_end(const TextFile& file, uint64_t size) {
  const uint64_t first = size - std::min(size, kReach);
  const std::string ending = load_text(file, first, size);
  std::string_view text = ending;
  while (!text.empty()) {
    if (is_ascii_space(text.back()))
      text.remove_suffix(1);
    else if (text.ends_with(kSeparator))
      text.remove_suffix(kSeparator.size());
    else
      break;
  }
  return first + text.size();
}

}  // namespace

uint64_t tail_cut(const TextFile& file, double fraction) {
  const bool lines = !file.field.empty();
  const uint64_t size = text_size(file), end = text_end(file, size);
  const auto target = end - static_cast<uint64_t>(static_cast<double>(end) * fraction);
  const uint64_t reach = lines ? JsonLines::kLongestLine : kReach;
  const uint64_t first = target - std::min(target, reach);
  const std::string near = load_text(file, first, std::min(end, target + reach));
  const size_t middle = static_cast<size_t>(target - first);
  const auto inside = [&](size_t at) { return at != kNone && at > 0 && at + 1 < near.size(); };
  for (const char mark : {'\n', ' '}) {
    if (lines && mark != '\n') return size;
    const size_t after = near.find(mark, middle > 0 ? middle - 1 : 0);
    const size_t before = near.rfind(mark, middle);
    for (const size_t at : {after, before})
      if (inside(at)) return first + at + (mark == '\n' ? 1 : 0);
  }
  size_t at = middle;
  while (at < near.size() && is_continuation(near[at])) ++at;
  return at < near.size() ? first + at : size;
}

}  // namespace isoflop
