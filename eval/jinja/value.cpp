#include "eval/jinja/value.hpp"

#include "core/error.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace isoflop::jinja {

namespace {

int depth_with(int depth, const Value& item) {
  if (item.name_space()) fail_user("a namespace cannot be put into another value");
  if (item.depth() >= kMostNesting) fail_user("values nest deeper than {}", kMostNesting);
  return std::max(depth, item.depth() + 1);
}

}  // namespace

Value::Value(List items) {
  int depth = 1;
  for (const Value& item : items) depth = depth_with(depth, item);
  data_ = std::make_shared<const Sequence>(Sequence{std::move(items), depth});
}

Value::Value(Dict items) {
  int depth = 1;
  for (const auto& item : items) depth = depth_with(depth, item.second);
  data_ = std::make_shared<const Mapping>(Mapping{std::move(items), depth});
}

Value Value::make_namespace(Dict items) {
  for (const auto& item : items) depth_with(0, item.second);
  Value value;
  value.data_ = std::make_shared<Namespace>(Namespace{std::move(items)});
  return value;
}

Value Value::from_json(const nlohmann::ordered_json& json) {
  switch (json.type()) {
    case nlohmann::json::value_t::boolean:
      return json.get<bool>();
    case nlohmann::json::value_t::number_integer:
      return json.get<int64_t>();
    case nlohmann::json::value_t::number_unsigned: {
      const auto value = json.get<uint64_t>();
      if (value > INT64_MAX) return static_cast<double>(value);
      return static_cast<int64_t>(value);
    }
    case nlohmann::json::value_t::number_float:
      return json.get<double>();
    case nlohmann::json::value_t::string:
      return json.get<std::string>();
    case nlohmann::json::value_t::array: {
      List list;
      for (const auto& item : json) list.push_back(from_json(item));
      return list;
    }
    case nlohmann::json::value_t::object: {
      Dict dict;
      for (const auto& [key, item] : json.items()) dict.emplace_back(key, from_json(item));
      return dict;
    }
    default:
      return None{};
  }
}

const List* Value::list() const {
  const auto* p = get<std::shared_ptr<const Sequence>>();
  return p ? &(*p)->items : nullptr;
}

const Dict* Value::dict() const {
  if (const auto* p = get<std::shared_ptr<const Mapping>>()) return &(*p)->items;
  const Namespace* space = name_space();
  return space ? &space->items : nullptr;
}

Namespace* Value::name_space() const {
  const auto* p = get<std::shared_ptr<Namespace>>();
  return p ? p->get() : nullptr;
}

const Value* Value::find(std::string_view key) const {
  const Dict* items = dict();
  if (!items) return nullptr;
  const auto at = std::find_if(items->begin(), items->end(),
                               [&](const auto& item) { return item.first == key; });
  return at == items->end() ? nullptr : &at->second;
}

int Value::depth() const {
  if (const auto* p = get<std::shared_ptr<const Sequence>>()) return (*p)->depth;
  if (const auto* p = get<std::shared_ptr<const Mapping>>()) return (*p)->depth;
  return 0;
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return number() != 0;
  if (text()) return !text()->empty();
  if (list()) return !list()->empty();
  if (name_space() || get<const Macro*>()) return true;
  return !dict()->empty();
}

double Value::number() const {
  if (const bool* b = get<bool>()) return *b ? 1 : 0;
  if (const int64_t* i = get<int64_t>()) return static_cast<double>(*i);
  return *get<double>();
}

bool Value::integer(int64_t& value) const {
  if (const bool* b = get<bool>())
    value = *b ? 1 : 0;
  else if (const int64_t* i = get<int64_t>())
    value = *i;
  else
    return false;
  return true;
}

std::string_view Value::type_name() const {
  if (is_undefined()) return "undefined";
  if (is_none()) return "none";
  if (get<bool>()) return "boolean";
  if (get<int64_t>()) return "integer";
  if (get<double>()) return "float";
  if (text()) return "string";
  if (list()) return "list";
  if (name_space()) return "namespace";
  if (get<const Macro*>()) return "macro";
  return "dict";
}

void put(Dict& dict, std::string_view key, Value value) {
  const auto at =
      std::find_if(dict.begin(), dict.end(), [&](const auto& item) { return item.first == key; });
  if (at != dict.end())
    at->second = std::move(value);
  else
    dict.emplace_back(key, std::move(value));
}

}  // namespace isoflop::jinja
