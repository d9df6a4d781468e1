// Operators, comparisons, items and slices, as Python has them.
#include "core/error.hpp"
#include "core/utf8.hpp"
#include "eval/jinja/builtins.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop::jinja {

namespace {

[[noreturn]] void refuse(std::string_view op, const Value& a, const Value& b) {
  fail_user("{} {} {} is not possible", a.type_name(), op, b.type_name());
}

void require_fits(bool overflowed) {
  if (overflowed) fail_user("an integer beyond 64 bits");
}

Value integer_operator(std::string_view op, int64_t a, int64_t b) {
  int64_t result = 0;
  if (op == "+" || op == "-" || op == "*") {
    require_fits(op == "+"   ? __builtin_add_overflow(a, b, &result)
                 : op == "-" ? __builtin_sub_overflow(a, b, &result)
                             : __builtin_mul_overflow(a, b, &result));
    return result;
  }
  if (op == "**") {
    if (b < 0) return std::pow(static_cast<double>(a), static_cast<double>(b));
    if (a >= -1 && a <= 1) return b == 0 || b % 2 == 0 ? (b == 0 ? 1 : a * a) : a;
    result = 1;
    for (int64_t i = 0; i < b; ++i) require_fits(__builtin_mul_overflow(result, a, &result));
    return result;
  }
  if (b == 0) fail_user("division by zero");
  if (op == "/") return static_cast<double>(a) / static_cast<double>(b);
  if (b == -1) require_fits(a == INT64_MIN && op == "//");
  if (b == -1) return op == "//" ? -a : int64_t{0};
  const int64_t quotient = a / b - ((a % b != 0) && ((a < 0) != (b < 0)));
  return op == "//" ? quotient : a - quotient * b;
}

Value real_operator(std::string_view op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") return std::pow(a, b);
  if (b == 0) fail_user("division by zero");
  if (op == "/") return a / b;
  const double quotient = std::floor(a / b);
  return op == "//" ? quotient : a - quotient * b;
}

Value repeated(const Value& value, int64_t times, Budget& budget) {
  const auto count = static_cast<size_t>(std::max<int64_t>(0, times));
  if (value.text()) {
    budget.spend(count, 1 + value.text()->size());
    std::string out;
    for (size_t i = 0; i < count; ++i) out += *value.text();
    return out;
  }
  budget.spend(count, (1 + value.list()->size()) * Budget::kPerItem);
  List out;
  for (size_t i = 0; i < count; ++i)
    out.insert(out.end(), value.list()->begin(), value.list()->end());
  return out;
}

/// Three-way for what has an order.
int order(std::string_view op, const Value& a, const Value& b, Budget& budget) {
  budget.spend(Budget::kPerNode);
  if (a.is_number() && b.is_number()) {
    int64_t i = 0, j = 0;
    if (a.integer(i) && b.integer(j)) return i < j ? -1 : i > j;
    return a.number() < b.number() ? -1 : a.number() > b.number();
  }
  if (a.text() && b.text()) {
    budget.spend(std::min(a.text()->size(), b.text()->size()));
    return a.text()->compare(*b.text());
  }
  if (!a.list() || !b.list()) refuse(op, a, b);
  for (size_t i = 0; i < std::min(a.list()->size(), b.list()->size()); ++i)
    if (!equal((*a.list())[i], (*b.list())[i], budget))
      return order(op, (*a.list())[i], (*b.list())[i], budget);
  return a.list()->size() < b.list()->size() ? -1 : a.list()->size() > b.list()->size();
}

bool contains(const Value& whole, const Value& part, Budget& budget) {
  if (whole.text()) {
    if (!part.text()) refuse("in", part, whole);
    budget.spend(whole.text()->size() * (1 + part.text()->size() / 64));
    return whole.text()->find(*part.text()) != std::string::npos;
  }
  if (whole.dict()) {
    budget.spend(whole.dict()->size());
    return part.text() && whole.find(*part.text());
  }
  if (whole.is_undefined()) return false;
  if (!whole.list()) refuse("in", part, whole);
  return std::any_of(whole.list()->begin(), whole.list()->end(),
                     [&](const Value& item) { return equal(item, part, budget); });
}

/// Each character of a text.
List characters_of(std::string_view text, Budget& budget) {
  List items;
  budget.spend(text.size() * Budget::kPerItem);
  while (!text.empty()) {
    const auto bytes = static_cast<size_t>(std::max(1, first_code_point(text).bytes));
    items.emplace_back(std::string(text.substr(0, bytes)));
    text.remove_prefix(bytes);
  }
  return items;
}

int64_t bound(const Value& value, int64_t otherwise, int64_t size, bool down) {
  int64_t at = otherwise;
  if (value.is_undefined() || value.is_none()) return otherwise;
  if (!value.integer(at)) fail_user("a slice from or to {} is not possible", value.type_name());
  if (at < 0) at = at < -size ? -1 : at + size;
  return down ? std::clamp<int64_t>(at, -1, size - 1) : std::clamp<int64_t>(at, 0, size);
}

}  // namespace

void Budget::spend(size_t amount) {
  if (amount > left_) fail_user("the template makes too much of it: its limit of work is used up");
  left_ -= amount;
}

void Budget::spend(size_t count, size_t each) {
  size_t amount;
  spend(__builtin_mul_overflow(count, each, &amount) ? SIZE_MAX : amount);
}

Value apply_operator(std::string_view op, const Value& a, const Value& b, Budget& budget) {
  if (op == "~") {
    std::string text = to_text(a, budget);
    return text += to_text(b, budget);
  }
  if (a.is_number() && b.is_number()) {
    int64_t i = 0, j = 0;
    if (a.integer(i) && b.integer(j)) return integer_operator(op, i, j);
    return real_operator(op, a.number(), b.number());
  }
  if (op == "+" && a.text() && b.text()) {
    budget.spend(a.text()->size() + b.text()->size());
    return *a.text() + *b.text();
  }
  if (op == "+" && a.list() && b.list()) {
    budget.spend((a.list()->size() + b.list()->size()) * Budget::kPerItem);
    List items = *a.list();
    items.insert(items.end(), b.list()->begin(), b.list()->end());
    return items;
  }
  int64_t times = 0;
  if (op == "*" && (a.text() || a.list()) && b.integer(times)) return repeated(a, times, budget);
  if (op == "*" && (b.text() || b.list()) && a.integer(times)) return repeated(b, times, budget);
  if (op == "%" && a.text()) fail_user("formatting a string by % is not supported");
  refuse(op, a, b);
}

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.spend(Budget::kPerNode);
  if (a.is_number() && b.is_number()) return order("==", a, b, budget) == 0;
  if (a.text() && b.text()) {
    if (a.text() == b.text()) return true;
    budget.spend(std::min(a.text()->size(), b.text()->size()));
    return *a.text() == *b.text();
  }
  if (a.list() && b.list())
    return std::equal(a.list()->begin(), a.list()->end(), b.list()->begin(), b.list()->end(),
                      [&](const Value& x, const Value& y) { return equal(x, y, budget); });
  if (a.name_space() || b.name_space()) return a.name_space() == b.name_space();
  if (a.dict() && b.dict()) {
    if (a.dict()->size() != b.dict()->size()) return false;
    return std::all_of(a.dict()->begin(), a.dict()->end(), [&](const auto& item) {
      budget.spend(b.dict()->size());
      const Value* other = b.find(item.first);
      return other && equal(item.second, *other, budget);
    });
  }
  if (a.get<const Macro*>() && b.get<const Macro*>())
    return *a.get<const Macro*>() == *b.get<const Macro*>();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

bool compare(std::string_view op, const Value& a, const Value& b, Budget& budget) {
  if (op == "==") return equal(a, b, budget);
  if (op == "!=") return !equal(a, b, budget);
  if (op == "in") return contains(b, a, budget);
  if (op == "not in") return !contains(b, a, budget);
  const int sign = order(op, a, b, budget);
  if (op == "<") return sign < 0;
  if (op == ">") return sign > 0;
  return op == "<=" ? sign <= 0 : sign >= 0;
}

Value item_of(const Value& value, const Value& key, Budget& budget) {
  const auto missing = [&] { return Undefined{to_text(key, budget)}; };
  if (value.is_undefined())
    fail_user("{} is undefined, so it has no {}", value.get<Undefined>()->name,
              to_text(key, budget));
  if (value.dict()) {
    budget.spend(value.dict()->size());
    const Value* found = key.text() ? value.find(*key.text()) : nullptr;
    return found ? *found : Value(missing());
  }
  int64_t at = 0;
  if ((!value.list() && !value.text()) || !key.integer(at)) return missing();
  if (value.text()) budget.spend(value.text()->size());
  const auto size =
      static_cast<int64_t>(value.list() ? value.list()->size() : characters(*value.text()));
  if (at < 0) at += size;
  if (at < 0 || at >= size) return missing();
  if (value.list()) return (*value.list())[static_cast<size_t>(at)];
  return slice_of(value, at, at + 1, None{}, budget);
}

Value slice_of(
    const Value& value, const Value& start, const Value& stop, const Value& step, Budget& budget) {
  if (!value.list() && !value.text()) fail_user("{} cannot be sliced", value.type_name());
  int64_t by = 1;
  if (!step.is_undefined() && !step.is_none() && !step.integer(by))
    fail_user("a slice by steps of {} is not possible", step.type_name());
  if (by == 0) fail_user("a slice by steps of zero is not possible");
  const bool down = by < 0;
  if (value.text() && by == 1) {  // by bytes, without a list of characters
    const std::string& text = *value.text();
    budget.spend(text.size());
    const auto size = static_cast<int64_t>(characters(text));
    const int64_t from = bound(start, 0, size, false), to = bound(stop, size, size, false);
    size_t at = 0;
    std::string out;
    for (int64_t i = 0; i < to; ++i) {
      const auto bytes = static_cast<size_t>(
          std::max(1, first_code_point(std::string_view(text).substr(at)).bytes));
      if (i >= from) out.append(text, at, bytes);
      at += bytes;
    }
    return out;
  }
  const List letters = value.text() ? characters_of(*value.text(), budget) : List{};
  const List& items = value.list() ? *value.list() : letters;
  const auto size = static_cast<int64_t>(items.size());
  const int64_t from = bound(start, down ? size - 1 : 0, size, down);
  const int64_t to = bound(stop, down ? -1 : size, size, down);
  List out;
  for (int64_t i = from; down ? i > to : i < to;) {
    budget.spend(Budget::kPerItem);
    out.push_back(items[static_cast<size_t>(i)]);
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  if (!value.text()) return out;
  std::string text;
  for (const Value& letter : out) text += *letter.text();
  return text;
}

List items_of(const Value& value, Budget& budget) {
  if (value.is_undefined()) return {};
  if (value.list()) {
    budget.spend(value.list()->size() * Budget::kPerItem);
    return *value.list();
  }
  if (value.text()) return characters_of(*value.text(), budget);
  if (!value.dict() || value.name_space())
    fail_user("{} cannot be gone through in a loop", value.type_name());
  List keys;
  for (const auto& item : *value.dict()) {
    budget.spend(Budget::kPerItem + item.first.size());
    keys.emplace_back(item.first);
  }
  return keys;
}

}  // namespace isoflop::jinja
