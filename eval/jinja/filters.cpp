#include "core/error.hpp"
#include "eval/jinja/builtins.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <map>

namespace isoflop::jinja {

namespace {

using Filter = Value (*)(const Value&, const CallArguments&, Budget&);

std::string text_of(const Value& value, Budget& b) {
  return to_text(value, b);
}

int64_t integer_of(const Value& value, int64_t otherwise, std::string_view what) {
  int64_t result = otherwise;
  if (!value.is_undefined() && !value.is_none() && !value.integer(result))
    fail_user("{} must be an integer, not {}", what, value.type_name());
  return result;
}

/// value.a.b.0 for "a.b.0", as map, sort and selectattr look things up.
Value attribute_of(Value value, const std::string& path, Budget& b) {
  for (size_t at = 0; at <= path.size();) {
    const size_t dot = std::min(path.find('.', at), path.size());
    const std::string name = path.substr(at, dot - at);
    const bool number =
        !name.empty() && name.size() < 10 && name.find_first_not_of("0123456789") == name.npos;
    value =
        number ? item_of(value, static_cast<int64_t>(std::stoi(name)), b) : item_of(value, name, b);
    at = dot + 1;
  }
  return value;
}

std::string attribute_name(const Value& value, std::string_view what) {
  if (!value.text()) fail_user("{} needs the name of an attribute", what);
  return *value.text();
}

Value length(const Value& v, const CallArguments& a, Budget& b) {
  a.only("length", 0);
  if (v.text()) {
    b.spend(v.text()->size());
    return static_cast<int64_t>(characters(*v.text()));
  }
  if (v.list()) return static_cast<int64_t>(v.list()->size());
  if (v.dict() && !v.name_space()) return static_cast<int64_t>(v.dict()->size());
  if (v.is_undefined()) return int64_t{0};
  fail_user("{} has no length", v.type_name());
}

template <Case which>
Value cased(const Value& v, const CallArguments& a, Budget& b) {
  a.only("upper, lower, title or capitalize", 0);
  return with_case(text_of(v, b), which);
}

Value trim(const Value& v, const CallArguments& a, Budget& b) {
  a.only("trim", 1, {"chars"});
  return stripped(text_of(v, b), a.get(0, "chars"), true, true);
}

Value tojson(const Value& v, const CallArguments& a, Budget& b) {
  a.only("tojson", 1, {"indent", "ensure_ascii", "separators", "sort_keys"});
  if (a.get(9, "ensure_ascii").truth()) fail_user("tojson(ensure_ascii=true) is not supported");
  JsonStyle style;
  const int64_t indent = integer_of(a.get(0, "indent"), -1, "tojson's indent");
  if (indent > 64) fail_user("tojson's indent of {} is too large", indent);
  style.indent = static_cast<int>(std::max<int64_t>(indent, -1));
  if (indent >= 0) style.item_separator = ",";
  if (const List* separators = a.get(9, "separators").list()) {
    if (separators->size() != 2) fail_user("tojson's separators are two strings");
    style.item_separator = text_of((*separators)[0], b);
    style.key_separator = text_of((*separators)[1], b);
  }
  style.sort_keys = a.get(9, "sort_keys").truth();
  return to_json(v, style, b);
}

Value join(const Value& v, const CallArguments& a, Budget& b) {
  a.only("join", 2, {"d", "attribute"});
  const Value separator = a.get(0, "d"), attribute = a.get(1, "attribute");
  std::string out;
  bool first = true;
  for (const Value& item : items_of(v, b)) {
    if (!first) out += text_of(separator, b);
    first = false;
    out += attribute.is_undefined()
               ? text_of(item, b)
               : text_of(attribute_of(item, attribute_name(attribute, "join"), b), b);
  }
  return out;
}

Value default_value(const Value& v, const CallArguments& a, Budget&) {
  a.only("default", 2, {"default_value", "boolean"});
  const bool absent = a.get(1, "boolean").truth() ? !v.truth() : v.is_undefined();
  const Value other = a.get(0, "default_value");
  return !absent ? v : other.is_undefined() ? Value("") : other;
}

Value first(const Value& v, const CallArguments& a, Budget& b) {
  a.only("first", 0);
  const List items = items_of(v, b);
  return items.empty() ? Value(Undefined{"the first of nothing"}) : items.front();
}

Value last(const Value& v, const CallArguments& a, Budget& b) {
  a.only("last", 0);
  const List items = items_of(v, b);
  return items.empty() ? Value(Undefined{"the last of nothing"}) : items.back();
}

Value list(const Value& v, const CallArguments& a, Budget& b) {
  a.only("list", 0);
  return items_of(v, b);
}

Value string(const Value& v, const CallArguments& a, Budget& b) {
  a.only("string", 0);
  return text_of(v, b);
}

Value safe(const Value& v, const CallArguments& a, Budget&) {
  a.only("safe", 0);
  return v;
}

/// What int() and float() take from a text; `otherwise` for what is no number.
Value number(const Value& v, const Value& otherwise, bool whole, Budget& b) {
  if (v.is_number()) {
    int64_t i = 0;
    if (!whole) return v.number();
    if (v.integer(i)) return i;
    return std::fabs(v.number()) < 9e18 ? Value(static_cast<int64_t>(v.number())) : otherwise;
  }
  if (!v.text()) return otherwise;
  const std::string text = stripped(*v.text(), Undefined{}, true, true);
  b.spend(text.size());
  if (text.empty() || text.size() > 64 || text.find_first_not_of("0123456789+-.eE") != text.npos)
    return otherwise;
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (*end != '\0') return otherwise;
  if (!whole) return value;
  if (text.find_first_of(".eE") == text.npos && text.size() < 19)
    return static_cast<int64_t>(std::stoll(text));
  return std::fabs(value) < 9e18 ? Value(static_cast<int64_t>(value)) : otherwise;
}

Value to_integer(const Value& v, const CallArguments& a, Budget& b) {
  a.only("int", 1, {"default"});
  const Value otherwise = a.get(0, "default");
  return number(v, otherwise.is_undefined() ? Value(int64_t{0}) : otherwise, true, b);
}

Value to_real(const Value& v, const CallArguments& a, Budget& b) {
  a.only("float", 1, {"default"});
  const Value otherwise = a.get(0, "default");
  return number(v, otherwise.is_undefined() ? Value(0.0) : otherwise, false, b);
}

Value absolute(const Value& v, const CallArguments& a, Budget& b) {
  a.only("abs", 0);
  if (!v.is_number()) fail_user("{} has no absolute value", v.type_name());
  int64_t i = 0;
  if (!v.integer(i)) return std::fabs(v.number());
  return i < 0 ? apply_operator("-", int64_t{0}, i, b) : Value(i);
}

Value replace(const Value& v, const CallArguments& a, Budget& b) {
  a.only("replace", 3, {"old", "new", "count"});
  return replaced(text_of(v, b), text_of(a.get(0, "old"), b), text_of(a.get(1, "new"), b),
                  integer_of(a.get(2, "count"), -1, "replace's count"), b);
}

List pairs(const Value& v, std::string_view what, Budget& b) {
  if (v.is_undefined()) return {};
  if (!v.dict() || v.name_space()) fail_user("{} needs a dict, not {}", what, v.type_name());
  List out;
  for (const auto& [key, value] : *v.dict()) {
    b.spend(3 * Budget::kPerItem + key.size());
    out.push_back(List{key, value});
  }
  return out;
}

Value items(const Value& v, const CallArguments& a, Budget& b) {
  a.only("items", 0);
  return pairs(v, "items", b);
}

/// Python's sort is stable; text without regard to case, unless asked for.
void sort_by(
    List& items, const std::function<Value(const Value&)>& key, bool down, bool exact, Budget& b) {
  const auto keyed = [&](const Value& item) {
    Value k = key(item);
    if (exact || !k.text()) return k;
    b.spend(k.text()->size());
    return Value(with_case(*k.text(), Case::lower));
  };
  std::vector<std::pair<Value, Value>> rows;
  for (const Value& item : items) rows.emplace_back(keyed(item), item);
  std::stable_sort(rows.begin(), rows.end(), [&](const auto& x, const auto& y) {
    return down ? compare("<", y.first, x.first, b) : compare("<", x.first, y.first, b);
  });
  for (size_t i = 0; i < rows.size(); ++i) items[i] = rows[i].second;
}

Value dictsort(const Value& v, const CallArguments& a, Budget& b) {
  a.only("dictsort", 3, {"case_sensitive", "by", "reverse"});
  const Value by = a.get(1, "by");
  const int64_t column = by.text() && *by.text() == "value" ? 1 : 0;
  List rows = pairs(v, "dictsort", b);
  sort_by(
      rows, [&](const Value& row) { return item_of(row, column, b); }, a.get(2, "reverse").truth(),
      a.get(0, "case_sensitive").truth(), b);
  return rows;
}

Value sort(const Value& v, const CallArguments& a, Budget& b) {
  a.only("sort", 3, {"reverse", "case_sensitive", "attribute"});
  List rows = items_of(v, b);
  const Value attribute = a.get(2, "attribute");
  sort_by(
      rows,
      [&](const Value& row) {
        return attribute.is_undefined() ? row
                                        : attribute_of(row, attribute_name(attribute, "sort"), b);
      },
      a.get(0, "reverse").truth(), a.get(1, "case_sensitive").truth(), b);
  return rows;
}

Value reverse(const Value& v, const CallArguments& a, Budget& b) {
  a.only("reverse", 0);
  if (v.text()) return slice_of(v, None{}, None{}, int64_t{-1}, b);
  List rows = items_of(v, b);
  std::reverse(rows.begin(), rows.end());
  return rows;
}

Value unique(const Value& v, const CallArguments& a, Budget& b) {
  a.only("unique", 2, {"case_sensitive", "attribute"});
  const bool exact = a.get(0, "case_sensitive").truth();
  if (!a.get(1, "attribute").is_undefined()) fail_user("unique by an attribute is not supported");
  List out, keys;
  for (const Value& item : items_of(v, b)) {
    const Value key = item.text() && !exact ? Value(with_case(*item.text(), Case::lower)) : item;
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& k) { return equal(k, key, b); }))
      continue;
    keys.push_back(key);
    out.push_back(item);
  }
  return out;
}

CallArguments rest_of(const CallArguments& a, size_t from) {
  CallArguments rest;
  for (size_t i = from; i < a.positional.size(); ++i) rest.positional.push_back(a.positional[i]);
  return rest;
}

Value map(const Value& v, const CallArguments& a, Budget& b) {
  const Value attribute = a.get(99, "attribute");
  List out;
  if (!attribute.is_undefined()) {
    a.only("map", 0, {"attribute", "default"});
    const Value otherwise = a.get(99, "default");
    for (const Value& item : items_of(v, b)) {
      const Value found = attribute_of(item, attribute_name(attribute, "map"), b);
      out.push_back(found.is_undefined() && !otherwise.is_undefined() ? otherwise : found);
    }
    return out;
  }
  const Value filter = a.get(0, "filter");
  if (!filter.text() || !is_filter(*filter.text())) fail_user("map needs an attribute or a filter");
  CallArguments rest = rest_of(a, 1);
  rest.named = a.named;
  for (const Value& item : items_of(v, b)) {
    b.spend(Budget::kPerItem);
    out.push_back(apply_filter(*filter.text(), item, rest, b));
  }
  return out;
}

/// select and reject (by the item itself) and selectattr and rejectattr (by one of its attributes).
template <bool keep, bool by_attribute>
Value choose(const Value& v, const CallArguments& a, Budget& b) {
  const size_t at = by_attribute ? 1 : 0;
  const Value test = a.get(at, "test");
  if (!test.is_undefined() && (!test.text() || !is_test(*test.text())))
    fail_user("there is no test {} here", text_of(test, b));
  List out;
  for (const Value& item : items_of(v, b)) {
    b.spend(Budget::kPerNode);
    const Value tested =
        by_attribute ? attribute_of(item, attribute_name(a.get(0, "attribute"), "selectattr"), b)
                     : item;
    const bool holds = test.is_undefined()
                           ? tested.truth()
                           : apply_test(*test.text(), tested, rest_of(a, at + 1), b);
    if (holds == keep) out.push_back(item);
  }
  return out;
}

Value indent(const Value& v, const CallArguments& a, Budget& b) {
  a.only("indent", 3, {"width", "first", "blank"});
  const Value width = a.get(0, "width");
  std::string blanks;
  if (width.text()) {
    blanks = *width.text();
  } else {
    const int64_t count = integer_of(width, 4, "indent's width");
    if (count < 0 || count > 1000) fail_user("indent's width of {} is too large", count);
    blanks = std::string(static_cast<size_t>(count), ' ');
  }
  const bool first_line = a.get(1, "first").truth(), blank_lines = a.get(2, "blank").truth();
  const std::string text = text_of(v, b);
  std::string out;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    b.spend(blanks.size() + end - at + 1);
    if (at == 0 ? first_line : blank_lines || end > at) out += blanks;
    out += text.substr(at, end - at);
    if (end < text.size()) out += '\n';
    at = end + 1;
  }
  return out;
}

const std::map<std::string_view, Filter>& filters() {
  static const std::map<std::string_view, Filter> all = {
      {"abs", absolute},
      {"capitalize", cased<Case::capital>},
      {"count", length},
      {"d", default_value},
      {"default", default_value},
      {"dictsort", dictsort},
      {"first", first},
      {"float", to_real},
      {"indent", indent},
      {"int", to_integer},
      {"items", items},
      {"join", join},
      {"last", last},
      {"length", length},
      {"list", list},
      {"lower", cased<Case::lower>},
      {"map", map},
      {"reject", choose<false, false>},
      {"rejectattr", choose<false, true>},
      {"replace", replace},
      {"reverse", reverse},
      {"safe", safe},
      {"select", choose<true, false>},
      {"selectattr", choose<true, true>},
      {"sort", sort},
      {"string", string},
      {"title", cased<Case::title>},
      {"tojson", tojson},
      {"trim", trim},
      {"unique", unique},
      {"upper", cased<Case::upper>},
  };
  return all;
}

}  // namespace

Value CallArguments::get(size_t position, std::string_view name) const {
  if (position < positional.size()) return positional[position];
  for (const auto& [key, value] : named)
    if (key == name) return value;
  return {};
}

void CallArguments::only(std::string_view what,
                         size_t positional_count,
                         std::initializer_list<std::string_view> names) const {
  if (positional.size() > positional_count)
    fail_user("{} takes {} arguments, not {}", what, positional_count, positional.size());
  for (const auto& argument : named)
    if (std::find(names.begin(), names.end(), argument.first) == names.end())
      fail_user("{} has no argument {}", what, argument.first);
}

bool is_filter(std::string_view name) {
  return filters().count(name) > 0;
}

Value apply_filter(std::string_view name, const Value& value, const CallArguments& a, Budget& b) {
  return filters().at(name)(value, a, b);
}

}  // namespace isoflop::jinja
