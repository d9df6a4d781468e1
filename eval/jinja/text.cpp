// Text by characters, and values as text.
#include "core/error.hpp"
#include "core/utf8.hpp"
#include "datasets/tokenizer/char_class.hpp"
#include "eval/jinja/builtins.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <cmath>

namespace isoflop::jinja {

namespace {

/// str.isspace of Python.
bool is_space(char32_t c) {
  return class_of(c) == CharClass::space || (c >= 0x1C && c <= 0x1F);
}

std::string real_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == text.npos) text += ".0";
  return text;
}

void append_escape(std::string& out, char32_t c) {
  if (c == '\n')
    out += "\\n";
  else if (c == '\r')
    out += "\\r";
  else if (c == '\t')
    out += "\\t";
  else
    out += fmt::format("\\x{:02x}", static_cast<uint32_t>(c));
}

/// repr() of a string: double quotes only where single ones would need an escape.
std::string python_quoted(std::string_view text) {
  const bool has_single = text.find('\'') != text.npos;
  const char quote = has_single && text.find('"') == text.npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      append_escape(out, static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + quote;
}

std::string json_text(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\b') {
      out += "\\b";
    } else if (c == '\f') {
      out += "\\f";
    } else if (c == '\n' || c == '\r' || c == '\t') {
      append_escape(out, static_cast<unsigned char>(c));
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

void append_text(std::string& out, const Value& value, bool repr, Budget& budget) {
  const size_t before = out.size();
  budget.spend(1);
  if (value.is_undefined()) {
  } else if (value.is_none()) {
    out += "None";
  } else if (const bool* b = value.get<bool>()) {
    out += *b ? "True" : "False";
  } else if (const int64_t* i = value.get<int64_t>()) {
    out += std::to_string(*i);
  } else if (const double* d = value.get<double>()) {
    out += real_text(*d);
  } else if (value.text()) {
    budget.spend(value.text()->size());
    out += repr ? python_quoted(*value.text()) : *value.text();
    return;
  } else if (value.list()) {
    out += '[';
    for (const Value& item : *value.list()) {
      if (&item != value.list()->data()) out += ", ";
      append_text(out, item, true, budget);
    }
    out += ']';
    return budget.spend(2 * value.list()->size());
  } else if (value.dict()) {
    out += '{';
    for (const auto& [key, item] : *value.dict()) {
      if (&key != &value.dict()->front().first) out += ", ";
      out += python_quoted(key) + ": ";
      budget.spend(key.size());
      append_text(out, item, true, budget);
    }
    out += '}';
    return budget.spend(2 * value.dict()->size());
  } else {
    fail_user("a {} cannot be printed", value.type_name());
  }
  budget.spend(out.size() - before);
}

class JsonPrinter {
 public:
  JsonPrinter(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  void print(const Value& value) {
    budget_.spend(Budget::kPerNode);
    if (value.is_none()) {
      out_ += "null";
    } else if (const bool* truth = value.get<bool>()) {
      out_ += *truth ? "true" : "false";
    } else if (const double* d = value.get<double>()) {
      out_ += std::isnan(*d)   ? "NaN"
              : std::isinf(*d) ? (*d > 0 ? "Infinity" : "-Infinity")
                               : real_text(*d);
    } else if (value.is_number()) {
      out_ += to_text(value, budget_);
    } else if (value.text()) {
      budget_.spend(2 * value.text()->size());
      out_ += json_text(*value.text());
    } else if (value.list()) {
      print_all(*value.list(), '[', ']', [this](const Value& item) { print(item); });
    } else if (value.dict()) {
      Dict items = *value.dict();
      if (style_.sort_keys)
        std::sort(items.begin(), items.end(),
                  [](const auto& x, const auto& y) { return x.first < y.first; });
      print_all(items, '{', '}', [&](const auto& item) {
        budget_.spend(2 * item.first.size());
        out_ += json_text(item.first) + style_.key_separator;
        print(item.second);
      });
    } else {
      fail_user("tojson cannot print what is {}", value.type_name());
    }
  }
  std::string take() { return std::move(out_); }

 private:
  template <class Items, class Print>
  void print_all(const Items& items, char open, char close, Print&& one) {
    out_ += open;
    ++depth_;
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out_ += style_.item_separator;
      line_break();
      one(items[i]);
    }
    --depth_;
    if (!items.empty()) line_break();
    out_ += close;
  }
  void line_break() {
    if (style_.indent < 0) return;
    const auto blanks = static_cast<size_t>(style_.indent) * depth_;
    budget_.spend(blanks + 1);
    out_ += '\n';
    out_.append(blanks, ' ');
  }

  const JsonStyle& style_;
  Budget& budget_;
  std::string out_;
  size_t depth_ = 0;
};

}  // namespace

size_t characters(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string stripped(std::string_view text, const Value& chars, bool left, bool right) {
  const std::string* set = chars.text();
  if (!set && !chars.is_undefined() && !chars.is_none())
    fail_user("the characters to strip are {}, not a string", chars.type_name());
  const auto goes = [&](std::string_view character) {
    return set ? set->find(character) != set->npos : is_space(first_code_point(character).value);
  };
  const auto width = [](std::string_view t) {
    return static_cast<size_t>(std::max(1, first_code_point(t).bytes));
  };
  while (left && !text.empty() && goes(text.substr(0, width(text))))
    text.remove_prefix(width(text));
  while (right && !text.empty()) {
    size_t last = text.size() - 1;
    while (last > 0 && (text[last] & 0xC0) == 0x80) --last;
    if (!goes(text.substr(last))) break;
    text.remove_suffix(text.size() - last);
  }
  return std::string(text);
}

std::string with_case(std::string_view text, Case which) {
  std::string out;
  bool first = true;  // of the text, or of a word
  while (!text.empty()) {
    const CodePoint c = first_code_point(text);
    const auto value = static_cast<utf8proc_int32_t>(c.value);
    const bool raise = which == Case::upper || (which != Case::lower && first);
    append_utf8(out, static_cast<char32_t>(!raise                 ? utf8proc_tolower(value)
                                           : which == Case::upper ? utf8proc_toupper(value)
                                                                  : utf8proc_totitle(value)));
    first = which == Case::title && class_of(c.value) != CharClass::letter;
    text.remove_prefix(static_cast<size_t>(std::max(1, c.bytes)));
  }
  return out;
}

std::string replaced(std::string_view text,
                     std::string_view from,
                     std::string_view to,
                     int64_t most,
                     Budget& budget) {
  std::string out;
  budget.spend(text.size() * (1 + from.size() / 64));
  size_t at = 0;
  for (int64_t n = 0; most < 0 || n < most; ++n) {
    // Nothing is found before every character and at the end.
    const size_t found =
        from.empty()
            ? (n == 0 ? 0 : at + static_cast<size_t>(first_code_point(text.substr(at)).bytes))
            : text.find(from, at);
    if (found > text.size() || (from.empty() && n > 0 && at == text.size())) break;
    budget.spend(to.size() + 1);
    out.append(text.substr(at, found - at));
    out.append(to);
    at = found + from.size();
  }
  return out.append(text.substr(at));
}

std::string to_text(const Value& value, Budget& budget) {
  std::string out;
  append_text(out, value, false, budget);
  return out;
}

std::string to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  JsonPrinter printer(style, budget);
  printer.print(value);
  return printer.take();
}

}  // namespace isoflop::jinja
