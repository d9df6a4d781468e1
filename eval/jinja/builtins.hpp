// What templates call: filters, tests, methods of values, and operators between values. Names and
// results are Python's and Jinja's; what is not here does not exist for a template.
//
// Errors are UserError without a place; the interpreter adds it.
#pragma once
#include "eval/jinja/value.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace isoflop::jinja {

/// Bounds time and memory of a rendering: everything made is paid for, by the byte.
class Budget {
 public:
  static constexpr size_t kPerNode = 16;
  static constexpr size_t kPerItem = 48;

  explicit Budget(size_t most) : left_(most) {}
  /// UserError when it is used up.
  void spend(size_t amount);
  /// spend(count * each), whatever overflows.
  void spend(size_t count, size_t each);

 private:
  size_t left_;
};

struct CallArguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  /// The argument at `position` or called `name`; undefined when absent.
  Value get(size_t position, std::string_view name) const;
  /// UserError when there are more than `positional_count`, or others by name.
  void only(std::string_view what,
            size_t positional_count,
            std::initializer_list<std::string_view> names = {}) const;
};

bool is_filter(std::string_view name);
Value apply_filter(std::string_view name, const Value& value, const CallArguments& a, Budget& b);
bool is_test(std::string_view name);
bool apply_test(std::string_view name, const Value& value, const CallArguments& a, Budget& b);
Value call_method(const Value& value, std::string_view name, const CallArguments& a, Budget& b);

/// a OP b for + - * / // % ** ~
Value apply_operator(std::string_view op, const Value& a, const Value& b, Budget& budget);
/// a OP b for == != < > <= >= in, not in
bool compare(std::string_view op, const Value& a, const Value& b, Budget& budget);
bool equal(const Value& a, const Value& b, Budget& budget);
/// value[key]; undefined when there is none.
Value item_of(const Value& value, const Value& key, Budget& budget);
/// value[start:stop:step]; undefined or none = left out.
Value slice_of(
    const Value& value, const Value& start, const Value& stop, const Value& step, Budget& b);
/// What a loop goes through: items, keys, or characters.
List items_of(const Value& value, Budget& budget);

/// As Python's str() and repr().
std::string to_text(const Value& value, Budget& budget);
/// As Python's json.dumps(ensure_ascii=False), which transformers has tojson be.
struct JsonStyle {
  int indent = -1;  // < 0: on one line
  std::string item_separator = ", ";
  std::string key_separator = ": ";
  bool sort_keys = false;
};
std::string to_json(const Value& value, const JsonStyle& style, Budget& budget);

// Text by characters: code points of UTF-8 (all text of a template is valid).
size_t characters(std::string_view text);
std::string stripped(std::string_view text, const Value& chars, bool left, bool right);
enum class Case { upper, lower, title, capital };
std::string with_case(std::string_view text, Case which);
std::string replaced(
    std::string_view text, std::string_view from, std::string_view to, int64_t most, Budget& b);

}  // namespace isoflop::jinja
