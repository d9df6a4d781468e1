#include "datasets/tokenizer/split_scan.hpp"

#include "datasets/tokenizer/char_class.hpp"

namespace isoflop {

namespace {

using Class = CharClass;

/// Bytes of the contraction behind the apostrophe ('s 't 'm 'd 're 've 'll), 0 for none.
size_t contraction(std::string_view rest) {
  if (rest.empty()) return 0;
  if (rest[0] == 's' || rest[0] == 't' || rest[0] == 'm' || rest[0] == 'd') return 1;
  const std::string_view two = rest.substr(0, 2);
  return two == "re" || two == "ve" || two == "ll" ? 2 : 0;
}

/// The same in either case; U+017F is an s in Unicode's case folding.
size_t contraction_in_any_case(std::string_view rest) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  if (rest.substr(0, 2) == "\xC5\xBF") return 2;
  const char two[] = {rest.empty() ? '\0' : lower(rest[0]),
                      rest.size() < 2 ? '\0' : lower(rest[1])};
  return contraction(std::string_view(two, 2));
}

/// Of a run of white space [at, end): all at the end of the text, else all but the last character,
/// which the next piece takes, else (a single one) just that. \s+(?!\S)|\s+
size_t space_piece_end(std::string_view text, size_t at, size_t end) {
  if (end == text.size()) return end;
  size_t last = end - 1;
  while ((static_cast<unsigned char>(text[last]) & 0xC0) == 0x80) --last;
  return last > at ? last : end;
}

bool is_newline(char c) {
  return c == '\r' || c == '\n';
}

}  // namespace

size_t gpt2_piece_end(std::string_view text, size_t at) {
  if (text[at] == '\'')
    if (const size_t more = contraction(text.substr(at + 1))) return at + 1 + more;
  const ClassifiedChar first = classify(text, at);
  const size_t second = at + static_cast<size_t>(first.bytes);
  if (first.kind != Class::space) return run_end(text, second, first.kind);
  if (text[at] == ' ' && second < text.size()) {
    const ClassifiedChar next = classify(text, second);
    if (next.kind != Class::space)
      return run_end(text, second + static_cast<size_t>(next.bytes), next.kind);
  }
  return space_piece_end(text, at, run_end(text, second, Class::space));
}

size_t llama3_piece_end(std::string_view text, size_t at, int most_digits) {
  if (text[at] == '\'')
    if (const size_t more = contraction_in_any_case(text.substr(at + 1))) return at + 1 + more;
  const ClassifiedChar first = classify(text, at);
  const size_t second = at + static_cast<size_t>(first.bytes);
  if (first.kind == Class::letter) return run_end(text, second, Class::letter);
  if (first.kind == Class::number) {
    size_t end = second;
    for (int digits = 1; digits < most_digits && end < text.size(); ++digits) {
      const ClassifiedChar next = classify(text, end);
      if (next.kind != Class::number) break;
      end += static_cast<size_t>(next.bytes);
    }
    return end;
  }
  const Class next = second < text.size() ? classify(text, second).kind : Class::space;
  if (next == Class::letter && !is_newline(text[at])) return run_end(text, second, Class::letter);
  if (first.kind == Class::other || (text[at] == ' ' && next == Class::other)) {
    size_t end = run_end(text, second, Class::other);
    while (end < text.size() && is_newline(text[end])) ++end;
    return end;
  }
  const size_t end = run_end(text, second, Class::space);
  for (size_t newline = end; newline-- > at;)
    if (is_newline(text[newline])) return newline + 1;
  return space_piece_end(text, at, end);
}

size_t number_piece_end(std::string_view text, size_t at) {
  const ClassifiedChar first = classify(text, at);
  if (first.kind == Class::number) return at + static_cast<size_t>(first.bytes);
  return number_run_end(text, at);
}

size_t number_run_end(std::string_view text, size_t at) {
  const bool wanted = classify(text, at).kind == Class::number;
  while (at < text.size()) {
    const ClassifiedChar next = classify(text, at);
    if ((next.kind == Class::number) != wanted) break;
    at += static_cast<size_t>(next.bytes);
  }
  return at;
}

}  // namespace isoflop
