// Tests, and methods of strings and dicts.
#include "core/error.hpp"
#include "datasets/tokenizer/char_class.hpp"
#include "eval/jinja/builtins.hpp"

#include <algorithm>
#include <cmath>
#include <map>

namespace isoflop::jinja {

namespace {

using Test = bool (*)(const Value&, const Value&, Budget&);  // with its one argument

bool divisible(const Value& v, const Value& by) {
  int64_t a = 0, b = 0;
  if (!v.integer(a) || !by.integer(b) || b == 0) fail_user("this is not divisible at all");
  return b == -1 || a % b == 0;
}

template <int remainder>
bool has_parity(const Value& v, const Value&, Budget&) {
  int64_t i = 0;
  if (!v.integer(i)) fail_user("{} is neither odd nor even", v.type_name());
  return (i % 2 != 0) == (remainder != 0);
}

bool is_case(const Value& v, Case which, Budget& b) {
  const std::string text = to_text(v, b);
  const bool has_letters = with_case(text, Case::upper) != with_case(text, Case::lower);
  return has_letters && with_case(text, which) == text;
}

#define ISOFLOP_COMPARE(op) \
  [](const Value& v, const Value& o, Budget& b) { return compare(op, v, o, b); }

const std::map<std::string_view, Test>& tests() {
  static const std::map<std::string_view, Test> all = {
      {"defined", [](const Value& v, const Value&, Budget&) { return !v.is_undefined(); }},
      {"undefined", [](const Value& v, const Value&, Budget&) { return v.is_undefined(); }},
      {"none", [](const Value& v, const Value&, Budget&) { return v.is_none(); }},
      {"string", [](const Value& v, const Value&, Budget&) { return v.text() != nullptr; }},
      {"number", [](const Value& v, const Value&, Budget&) { return v.is_number(); }},
      {"integer",
       [](const Value& v, const Value&, Budget&) { return v.get<int64_t>() != nullptr; }},
      {"float", [](const Value& v, const Value&, Budget&) { return v.get<double>() != nullptr; }},
      {"boolean", [](const Value& v, const Value&, Budget&) { return v.get<bool>() != nullptr; }},
      {"true",
       [](const Value& v, const Value&, Budget&) { return v.get<bool>() && *v.get<bool>(); }},
      {"false",
       [](const Value& v, const Value&, Budget&) { return v.get<bool>() && !*v.get<bool>(); }},
      {"mapping",
       [](const Value& v, const Value&, Budget&) { return v.dict() && !v.name_space(); }},
      {"iterable",
       [](const Value& v, const Value&, Budget&) {
         return v.list() || v.text() || v.is_undefined() || (v.dict() && !v.name_space());
       }},
      {"sequence",
       [](const Value& v, const Value&, Budget&) {
         return v.list() || v.text() || v.is_undefined() || (v.dict() && !v.name_space());
       }},
      {"callable",
       [](const Value& v, const Value&, Budget&) { return v.get<const Macro*>() != nullptr; }},
      {"odd", has_parity<1>},
      {"even", has_parity<0>},
      {"divisibleby", [](const Value& v, const Value& o, Budget&) { return divisible(v, o); }},
      {"lower", [](const Value& v, const Value&, Budget& b) { return is_case(v, Case::lower, b); }},
      {"upper", [](const Value& v, const Value&, Budget& b) { return is_case(v, Case::upper, b); }},
      {"equalto", ISOFLOP_COMPARE("==")},
      {"eq", ISOFLOP_COMPARE("==")},
      {"==", ISOFLOP_COMPARE("==")},
      {"sameas", [](const Value& v, const Value& o,
                    Budget& b) { return v.type_name() == o.type_name() && equal(v, o, b); }},
      {"ne", ISOFLOP_COMPARE("!=")},
      {"!=", ISOFLOP_COMPARE("!=")},
      {"gt", ISOFLOP_COMPARE(">")},
      {"greaterthan", ISOFLOP_COMPARE(">")},
      {">", ISOFLOP_COMPARE(">")},
      {"ge", ISOFLOP_COMPARE(">=")},
      {">=", ISOFLOP_COMPARE(">=")},
      {"lt", ISOFLOP_COMPARE("<")},
      {"lessthan", ISOFLOP_COMPARE("<")},
      {"<", ISOFLOP_COMPARE("<")},
      {"le", ISOFLOP_COMPARE("<=")},
      {"<=", ISOFLOP_COMPARE("<=")},
      {"in", ISOFLOP_COMPARE("in")},
  };
  return all;
}

#undef ISOFLOP_COMPARE

const std::string& needed(const CallArguments& a, size_t i, std::string_view method) {
  if (i >= a.positional.size() || !a.positional[i].text()) fail_user("{}() needs a string", method);
  return *a.positional[i].text();
}

int64_t limit_of(const CallArguments& a) {
  const Value value = a.get(1, "maxsplit");
  int64_t most = -1;
  if (!value.is_undefined() && !value.integer(most)) fail_user("maxsplit must be an integer");
  return most;
}

Value split(const std::string& text, const CallArguments& a, bool from_right, Budget& b) {
  a.only("split()", 2, {"sep", "maxsplit"});
  const Value separator = a.get(0, "sep");
  int64_t most = limit_of(a);
  b.spend(text.size() + Budget::kPerItem);
  List out;
  const auto add = [&](std::string part) {
    b.spend(Budget::kPerItem);
    out.emplace_back(std::move(part));
  };
  if (separator.is_undefined() || separator.is_none()) {
    if (most >= 0) fail_user("split() at white space with a limit is not supported");
    for (std::string_view left = text; !left.empty();) {
      const size_t blank = run_end(left, 0, CharClass::space);
      left.remove_prefix(blank);
      size_t end = 0;
      while (end < left.size()) {
        const ClassifiedChar c = classify(left, end);
        if (c.kind == CharClass::space) break;
        end += static_cast<size_t>(c.bytes);
      }
      if (end > 0) add(std::string(left.substr(0, end)));
      left.remove_prefix(end);
    }
    return out;
  }
  if (!separator.text() || separator.text()->empty()) fail_user("split() needs a separator");
  const std::string& mark = *separator.text();
  b.spend(text.size() * (mark.size() / 64));
  if (most < 0) most = INT64_MAX;
  std::string_view left = text;
  for (int64_t n = 0; n < most; ++n) {
    const size_t at = from_right ? left.rfind(mark) : left.find(mark);
    if (at == left.npos) break;
    if (from_right) {
      add(std::string(left.substr(at + mark.size())));
      left = left.substr(0, at);
    } else {
      add(std::string(left.substr(0, at)));
      left.remove_prefix(at + mark.size());
    }
  }
  add(std::string(left));
  if (from_right) std::reverse(out.begin(), out.end());
  return out;
}

Value splitlines(const std::string& text, Budget& b) {
  List out;
  b.spend(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find_first_of("\r\n", at), text.size());
    b.spend(Budget::kPerItem);
    out.emplace_back(text.substr(at, end - at));
    at = end + (text.compare(end, 2, "\r\n") == 0 ? 2 : 1);
  }
  return out;
}

/// startswith and endswith: of one string, or of any in a list.
bool begins(const std::string& text, const CallArguments& a, bool at_end) {
  const std::string_view name = at_end ? "endswith" : "startswith";
  a.only(name, 1);
  const auto one = [&](const Value& v) {
    if (!v.text()) fail_user("{}() needs a string", name);
    return at_end ? text.ends_with(*v.text()) : text.starts_with(*v.text());
  };
  const Value wanted = a.get(0, "prefix");
  if (!wanted.list()) return one(wanted);
  return std::any_of(wanted.list()->begin(), wanted.list()->end(), one);
}

Value string_method(const std::string& text,
                    std::string_view name,
                    const CallArguments& a,
                    Budget& b) {
  b.spend(text.size());
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    a.only(name, 1);
    return stripped(text, a.get(0, "chars"), name != "rstrip", name != "lstrip");
  }
  if (name == "split" || name == "rsplit") return split(text, a, name == "rsplit", b);
  if (name == "splitlines") return splitlines(text, b);
  if (name == "startswith" || name == "endswith") return begins(text, a, name == "endswith");
  if (name == "upper") return with_case(text, Case::upper);
  if (name == "lower") return with_case(text, Case::lower);
  if (name == "title") return with_case(text, Case::title);
  if (name == "capitalize") return with_case(text, Case::capital);
  if (name == "replace") {
    int64_t most = -1;
    a.only(name, 3, {"count"});
    a.get(2, "count").integer(most);
    return replaced(text, needed(a, 0, name), needed(a, 1, name), most, b);
  }
  if (name == "removeprefix" || name == "removesuffix") {
    const std::string& part = needed(a, 0, name);
    const bool there = name == "removeprefix" ? text.starts_with(part) : text.ends_with(part);
    if (!there) return text;
    return name == "removeprefix" ? text.substr(part.size())
                                  : text.substr(0, text.size() - part.size());
  }
  if (name == "find" || name == "count") {
    const std::string& part = needed(a, 0, name);
    a.only(name, 1);
    b.spend(text.size() * (1 + part.size() / 64));
    if (name == "find") {
      const size_t at = text.find(part);
      return at == text.npos
                 ? int64_t{-1}
                 : static_cast<int64_t>(characters(std::string_view(text).substr(0, at)));
    }
    if (part.empty()) return static_cast<int64_t>(characters(text)) + 1;
    int64_t n = 0;
    for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + part.size())) ++n;
    return n;
  }
  if (name == "join") {
    CallArguments separator;
    separator.positional = {Value(text)};
    return apply_filter("join", a.get(0, "iterable"), separator, b);
  }
  if (name == "isdigit" || name == "isalpha" || name == "isspace" || name == "isalnum") {
    for (size_t at = 0; at < text.size();) {
      const ClassifiedChar c = classify(text, at);
      const bool digit = c.kind == CharClass::number, letter = c.kind == CharClass::letter;
      if (!(name == "isspace"   ? c.kind == CharClass::space
            : name == "isdigit" ? digit
            : name == "isalpha" ? letter
                                : digit || letter))
        return false;
      at += static_cast<size_t>(c.bytes);
    }
    return !text.empty();
  }
  fail_user("strings have no method {}() here", name);
}

Value dict_method(const Value& value, std::string_view name, const CallArguments& a, Budget& b) {
  if (name == "items") return apply_filter("items", value, a, b);
  if (name == "keys") return items_of(value, b);
  if (name == "values") {
    List out;
    for (const auto& item : *value.dict()) {
      b.spend(Budget::kPerItem);
      out.push_back(item.second);
    }
    return out;
  }
  if (name == "get") {
    a.only("get()", 2);
    const Value found = item_of(value, a.get(0, "key"), b);
    if (!found.is_undefined()) return found;
    const Value otherwise = a.get(1, "default");
    return otherwise.is_undefined() ? Value(None{}) : otherwise;
  }
  fail_user("dicts have no method {}() here", name);
}

}  // namespace

bool is_test(std::string_view name) {
  return tests().count(name) > 0;
}

bool apply_test(std::string_view name, const Value& value, const CallArguments& a, Budget& b) {
  a.only(name, 1);
  return tests().at(name)(value, a.get(0, "other"), b);
}

Value call_method(const Value& value, std::string_view name, const CallArguments& a, Budget& b) {
  if (value.text()) return string_method(*value.text(), name, a, b);
  if (value.dict() && !value.name_space()) return dict_method(value, name, a, b);
  if (value.is_undefined())
    fail_user("{} is undefined, so it has no method {}()", value.get<Undefined>()->name, name);
  if (value.list() && (name == "append" || name == "pop" || name == "insert" || name == "extend"))
    fail_user("a list cannot be changed by {}(); templates join lists by +", name);
  if (value.list() && name == "count") {
    a.only(name, 1);
    return static_cast<int64_t>(
        std::count_if(value.list()->begin(), value.list()->end(),
                      [&](const Value& item) { return equal(item, a.get(0, "value"), b); }));
  }
  fail_user("{} has no method {}() here", value.type_name(), name);
}

}  // namespace isoflop::jinja
