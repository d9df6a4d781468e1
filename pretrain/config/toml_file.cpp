#include "pretrain/config/toml_file.hpp"

#include "core/error.hpp"

#include <toml++/toml.h>

#include <algorithm>

namespace isoflop {

namespace {

std::string place(const std::string& name, const toml::node& node) {
  return fmt::format("{}:{}", name, node.source().begin.line);
}

/// { path = "...", weight = 0.7 }: which of the keys a list takes is for its field to say.
DataEntry entry_value(const toml::node& node, const std::string& key, const std::string& where) {
  DataEntry entry;
  if (const auto text = node.value_exact<std::string>()) return {*text, 0, ""};
  const toml::table* table = node.as_table();
  if (!table) fail_user("{}: an entry of {} is neither text nor {{ path = ... }}", where, key);
  for (const auto& [name, value] : *table) {
    const auto text = value.value_exact<std::string>();
    if (name == "path" && text)
      entry.path = *text;
    else if (name == "name" && text && !text->empty())
      entry.name = *text;
    else if (name == "weight" && value.is_number() && *value.value<double>() > 0)
      entry.weight = *value.value<double>();
    else
      fail_user("{}: an entry of {} holds a path, a weight above 0 or a name, but here is \"{}\"",
                where, key, std::string(name.str()));
  }
  if (entry.path.empty()) fail_user("{}: an entry of {} has no path", where, key);
  return entry;
}

Value list_value(const toml::array& array, const std::string& key, const std::string& where) {
  if (array.empty()) return std::vector<std::string>{};
  std::vector<std::string> texts;
  std::vector<double> numbers;
  for (const toml::node& item : array) {
    if (const auto text = item.value_exact<std::string>())
      texts.push_back(*text);
    else if (item.is_number())
      numbers.push_back(*item.value<double>());
  }
  if (texts.size() == array.size()) return texts;
  if (numbers.size() == array.size()) return numbers;
  const bool is_section = key.find('.') == key.npos;  // [[model]]
  if (!is_section &&
      std::any_of(array.begin(), array.end(), [](const auto& item) { return item.is_table(); })) {
    std::vector<DataEntry> entries;
    for (const toml::node& item : array) entries.push_back(entry_value(item, key, where));
    return entries;
  }
  fail_user("{}: {} holds a list of mixed or nested values; write texts only, or numbers only",
            where, key);
}

Value node_value(const toml::node& node, const std::string& key, const std::string& where) {
  if (const toml::array* array = node.as_array()) return list_value(*array, key, where);
  if (const auto flag = node.value_exact<bool>()) return *flag;
  if (const auto integer = node.value_exact<int64_t>()) return *integer;
  if (const auto real = node.value_exact<double>()) return *real;
  if (const auto text = node.value_exact<std::string>()) return *text;
  fail_user("{}: {} holds a date or time, which no key takes", where, key);
}

void flatten(const toml::table& table,
             const std::string& prefix,
             const std::string& name,
             std::vector<Setting>& out) {
  for (const auto& [key, node] : table) {
    const std::string full = prefix + std::string(key.str());
    const std::string where = place(name, node);
    if (const toml::table* inner = node.as_table()) {
      flatten(*inner, full + ".", name, out);
    } else {
      out.push_back({full, node_value(node, full, where), where});
    }
  }
}

/// The library builds and destroys nested tables recursively, so a key of very many parts would end
/// the stack; ours have two. Counts the dots of each key, outside strings and comments.
void refuse_deep_keys(std::string_view text, const std::string& name) {
  constexpr int kMostDots = 16;
  int line = 1, dots = 0;
  char quote = 0;
  bool comment = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      ++line;
      comment = false;
    }
    if (comment) continue;
    if (quote) {
      if (c == '\\' && quote == '"')
        ++i;
      else if (c == quote)
        quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '#') {
      comment = true;
    } else if (c == '.') {
      if (++dots > kMostDots)
        fail_user("{}:{}: a key of more than {} parts", name, line, kMostDots);
    } else if (std::string_view("=,[]{}\n").find(c) != std::string_view::npos) {
      dots = 0;
    }
  }
}

}  // namespace

std::vector<Setting> parse_toml(std::string_view text, const std::string& name) {
  std::vector<Setting> settings;
  refuse_deep_keys(text, name);
  try {
    flatten(toml::parse(text), "", name, settings);
  } catch (const toml::parse_error& error) {
    fail_user("{}:{}: not TOML: {}", name, error.source().begin.line, error.description());
  }
  return settings;
}

Value parse_value(std::string_view text, const std::string& where) {
  const auto parse = [&](const std::string& value) {
    refuse_deep_keys(value, where);
    const toml::table table = toml::parse("v = " + value);
    if (table.size() != 1) fail_user("{}: more than one line", where);
    return node_value(*table.get("v"), where, where);
  };
  try {
    return parse(std::string(text));
  } catch (const toml::parse_error&) {
  } catch (const UserError&) {
    // A list of entries is no text; anything else may be.
    if (text.substr(0, 2) == "[{") throw;
  }
  try {
    return parse(toml_quoted(text));
  } catch (const toml::parse_error&) {
    fail_user("{}: the value is not UTF-8 text", where);
  }
}

}  // namespace isoflop
