// Values of a template: what Python has, as far as templates see it.
//
// Strings, lists and dicts never change once made, so copies share them (hence shared_ptr: every
// value that holds one owns it). Only a namespace changes, and it can be put into nothing, so there
// are no cycles. Nothing nests deeper than kMostNesting: destroying and printing recurse.
#pragma once
#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace isoflop::jinja {

inline constexpr int kMostNesting = 100;

struct Macro;  // in a parsed template
class Value;
using List = std::vector<Value>;
using Dict = std::vector<std::pair<std::string, Value>>;  // in order of insertion

/// Something that is not there, and how the template called it.
struct Undefined {
  std::string name;
};
struct None {};
struct Sequence {
  List items;
  int depth = 1;
};
struct Mapping {
  Dict items;
  int depth = 1;
};
struct Namespace {
  Dict items;
};

class Value {
 public:
  Value() : data_(Undefined{}) {}
  Value(Undefined u) : data_(std::move(u)) {}
  Value(None) : data_(None{}) {}
  Value(bool b) : data_(b) {}
  Value(int64_t i) : data_(i) {}
  Value(double d) : data_(d) {}
  Value(std::string s) : data_(std::make_shared<const std::string>(std::move(s))) {}
  Value(const char* s) : Value(std::string(s)) {}
  /// UserError when it nests too deep or holds a namespace.
  Value(List items);
  Value(Dict items);
  Value(const Macro* macro) : data_(macro) {}
  static Value make_namespace(Dict items);
  static Value from_json(const nlohmann::ordered_json& json);

  template <class T>
  const T* get() const {
    return std::get_if<T>(&data_);
  }
  bool is_undefined() const { return get<Undefined>(); }
  bool is_none() const { return get<None>(); }
  bool is_number() const { return get<bool>() || get<int64_t>() || get<double>(); }
  const std::string* text() const {
    const auto* p = get<std::shared_ptr<const std::string>>();
    return p ? p->get() : nullptr;
  }
  const List* list() const;
  /// Of a dict or a namespace.
  const Dict* dict() const;
  Namespace* name_space() const;
  const Value* find(std::string_view key) const;  // in a dict; null when absent
  int depth() const;

  /// Python's truth.
  bool truth() const;
  /// bool as 0 or 1, as Python does; only for is_number().
  double number() const;
  /// int or bool; false for others.
  bool integer(int64_t& value) const;
  /// "string", "list", ... for messages.
  std::string_view type_name() const;

 private:
  std::variant<Undefined,
               None,
               bool,
               int64_t,
               double,
               std::shared_ptr<const std::string>,
               std::shared_ptr<const Sequence>,
               std::shared_ptr<const Mapping>,
               std::shared_ptr<Namespace>,
               const Macro*>
      data_;
};

/// Sets a key of a dict: a new one at the end.
void put(Dict& dict, std::string_view key, Value value);

}  // namespace isoflop::jinja
