#include "eval/jinja/lexer.hpp"

#include "core/error.hpp"
#include "core/utf8.hpp"

#include <algorithm>
#include <charconv>

namespace isoflop::jinja {

namespace {

using Kind = Token::Kind;

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
}

class Lexer {
 public:
  Lexer(std::string_view text, const std::string& origin) : text_(text), origin_(origin) {
    if (text_.ends_with('\n')) text_.remove_suffix(1);
  }

  std::vector<Token> run() {
    while (at_ < text_.size()) {
      const size_t open = next_tag(at_);
      add_data(at_, open);
      at_ = open;
      if (at_ < text_.size()) tag();
    }
    push(Kind::end);
    return std::move(tokens_);
  }

 private:
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    fail_format("{}:{}: {}", origin_, line_, fmt::format(format, std::forward<Args>(args)...));
  }

  size_t next_tag(size_t from) const {
    for (size_t i = text_.find('{', from); i < text_.size(); i = text_.find('{', i + 1))
      if (i + 1 < text_.size() &&
          (text_[i + 1] == '{' || text_[i + 1] == '%' || text_[i + 1] == '#'))
        return i;
    return text_.size();
  }

  /// The text between two tags, trimmed by what stands on either side of it.
  void add_data(size_t begin, size_t end) {
    std::string_view data = text_.substr(begin, end - begin);
    const int line = line_;
    line_ += static_cast<int>(std::ranges::count(data, '\n'));
    bool at_line_start = begin == 0 || line_starts_;
    if (trim_after_ == Trim::all) {
      while (!data.empty() && is_blank(data.front())) data.remove_prefix(1);
    } else if (trim_after_ == Trim::line_break) {
      if (data.starts_with('\n')) {
        data.remove_prefix(1);
        at_line_start = true;
      }
    }
    trim_after_ = Trim::none;
    if (end < text_.size()) {
      const char sign = end + 2 < text_.size() ? text_[end + 2] : ' ';
      if (sign == '-') {
        while (!data.empty() && is_blank(data.back())) data.remove_suffix(1);
      } else if (sign != '+' && text_[end + 1] != '{') {
        const size_t last = data.find_last_not_of(" \t\v\f");
        if (last == data.npos ? at_line_start : data[last] == '\n')
          data = data.substr(0, last == data.npos ? 0 : last + 1);
      }
    }
    if (!data.empty()) push_at(Kind::data, std::string(data), line);
  }

  void tag() {
    const char kind = text_[at_ + 1];
    line_starts_ = false;
    if (kind == '#') return comment();
    if (kind == '%' && raw()) return;
    at_ += 2;
    push(kind == '{' ? Kind::begin_output : Kind::begin_block);
    if (at_ < text_.size() && (text_[at_] == '-' || text_[at_] == '+')) ++at_;
    const std::string_view close = kind == '{' ? "}}" : "%}";
    const size_t open_brackets = brackets_.size();
    while (true) {
      skip_blanks();
      if (at_ >= text_.size()) fail("the tag is not closed by {}", close);
      const bool sign = text_[at_] == '-' || (kind == '%' && text_[at_] == '+');
      if (brackets_.size() == open_brackets && text_.substr(at_ + sign, 2) == close) {
        finish_tag(sign ? text_[at_] : ' ', at_ + sign + 2, kind == '%');
        push(kind == '{' ? Kind::end_output : Kind::end_block);
        return;
      }
      expression_token();
    }
  }

  void finish_tag(char sign, size_t end, bool trims) {
    trim_after_ = sign == '-' ? Trim::all : trims && sign != '+' ? Trim::line_break : Trim::none;
    at_ = end;
  }

  void comment() {
    const size_t close = text_.find("#}", at_ + 2);
    if (close == text_.npos) fail("the comment is not closed by #}}");
    const char sign = close > at_ + 2 ? text_[close - 1] : ' ';
    line_ += static_cast<int>(std::ranges::count(text_.substr(at_, close - at_), '\n'));
    finish_tag(sign == '-' || sign == '+' ? sign : ' ', close + 2, true);
  }

  /// {% raw %} ... {% endraw %}
  bool raw() {
    size_t begin = at_;
    char sign = ' ';
    if (!is_tag(begin, "raw", sign)) return false;
    finish_tag(sign, begin, true);
    for (size_t i = text_.find("{%", at_); i < text_.size(); i = text_.find("{%", i + 1)) {
      size_t end = i;
      if (!is_tag(end, "endraw", sign)) continue;
      add_data(at_, i);
      line_starts_ = false;
      finish_tag(sign, end, true);
      return true;
    }
    fail("raw is not closed by {{% endraw %}}");
  }

  /// True when a tag of this one word begins at `at`, which then goes behind it.
  bool is_tag(size_t& at, std::string_view word, char& sign) const {
    size_t i = at + 2;
    const auto blanks = [&] {
      while (i < text_.size() && is_blank(text_[i])) ++i;
    };
    if (i < text_.size() && (text_[i] == '-' || text_[i] == '+')) ++i;
    blanks();
    if (text_.substr(i, word.size()) != word) return false;
    i += word.size();
    blanks();
    sign = i < text_.size() && (text_[i] == '-' || text_[i] == '+') ? text_[i++] : ' ';
    if (text_.substr(i, 2) != "%}") return false;
    at = i + 2;
    return true;
  }

  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) line_ += text_[at_++] == '\n';
  }

  void expression_token() {
    const char c = text_[at_];
    if (c == '"' || c == '\'') return string(c);
    if (is_digit(c)) return number();
    if (is_name(c)) {
      const size_t begin = at_;
      while (at_ < text_.size() && is_name(text_[at_])) ++at_;
      return push(Kind::name, std::string(text_.substr(begin, at_ - begin)));
    }
    for (const std::string_view two : {"**", "//", "==", "!=", "<=", ">="})
      if (text_.substr(at_, 2) == two) {
        at_ += 2;
        return push(Kind::symbol, std::string(two));
      }
    if (std::string_view("+-*/%~<>=.:,|()[]{}").find(c) == std::string_view::npos)
      fail("{} is no part of an expression", describe_character(text_.substr(at_)));
    if (c == '(' || c == '[' || c == '{')
      brackets_.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (brackets_.empty() || brackets_.back() != c) fail("{} closes nothing", c);
      brackets_.pop_back();
    }
    ++at_;
    push(Kind::symbol, std::string(1, c));
  }

  void string(char quote) {
    const int line = line_;
    std::string value;
    for (++at_; at_ < text_.size() && text_[at_] != quote; ++at_) {
      line_ += text_[at_] == '\n';
      if (text_[at_] != '\\' || at_ + 1 >= text_.size())
        value += text_[at_];
      else
        escape(value);
    }
    if (at_ >= text_.size()) fail("the string that begins on line {} is not closed", line);
    ++at_;
    push_at(Kind::string, std::move(value), line);
  }

  /// Python's escapes; an unknown one stays as it is written. Ends on its last character.
  void escape(std::string& value) {
    const char c = text_[++at_];
    constexpr std::string_view kNames = "nrtabfv0\\'\"";
    constexpr std::string_view kValues("\n\r\t\a\b\f\v\0\\'\"", 11);
    if (c == '\n') {
      ++line_;
      return;
    }
    if (const size_t known = kNames.find(c); known != kNames.npos) {
      value += kValues[known];
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      const std::string_view hex = text_.substr(at_ + 1, digits);
      uint32_t code = 0;
      const auto end = std::from_chars(hex.data(), hex.data() + hex.size(), code, 16);
      if (hex.size() < digits || end.ptr != hex.data() + digits || code > 0x10FFFF ||
          (code >= 0xD800 && code < 0xE000))
        fail("\\{}{} is no character", c, hex);
      append_utf8(value, code);
      at_ += digits;
    } else {
      value += '\\';
      value += c;
    }
  }

  void number() {
    size_t end = at_;
    std::string digits;
    bool real = false;
    for (; end < text_.size(); ++end) {
      const char c = text_[end];
      const bool exponent =
          (c == 'e' || c == 'E') && end + 1 < text_.size() &&
          (is_digit(text_[end + 1]) || text_[end + 1] == '-' || text_[end + 1] == '+');
      const bool point = c == '.' && end + 1 < text_.size() && is_digit(text_[end + 1]);
      const bool sign = (c == '-' || c == '+') && !digits.empty() &&
                        (digits.back() == 'e' || digits.back() == 'E');
      if (!is_digit(c) && c != '_' && !exponent && !point && !sign) break;
      real |= exponent || point;
      if (c != '_') digits += c;
    }
    Token token{.kind = real ? Kind::real : Kind::integer, .text = digits, .line = line_};
    const char* first = digits.data();
    const char* last = first + digits.size();
    const auto result = real ? std::from_chars(first, last, token.real)
                             : std::from_chars(first, last, token.integer);
    if (result.ec != std::errc() || result.ptr != last) fail("{} is no number", digits);
    tokens_.push_back(std::move(token));
    at_ = end;
  }

  void push(Kind kind, std::string text = {}) { push_at(kind, std::move(text), line_); }
  void push_at(Kind kind, std::string text, int line) {
    tokens_.push_back({.kind = kind, .text = std::move(text), .line = line});
  }

  enum class Trim { none, line_break, all };
  std::string_view text_;
  const std::string& origin_;
  size_t at_ = 0;
  int line_ = 1;
  Trim trim_after_ = Trim::none;
  bool line_starts_ = false;
  std::vector<char> brackets_;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> lex(std::string_view text, const std::string& origin) {
  std::string lines;  // with one kind of line break
  for (size_t i = 0; i < text.size(); ++i)
    if (text[i] != '\r')
      lines += text[i];
    else if (i + 1 == text.size() || text[i + 1] != '\n')
      lines += '\n';
  return Lexer(lines, origin).run();
}

}  // namespace isoflop::jinja
