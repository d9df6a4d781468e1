#include "launch/describe.hpp"

namespace isoflop {

void print_description(const Context& context, const nlohmann::ordered_json& description) {
  for (const auto& [key, value] : description.items()) {
    if (value.is_array() && !value.empty() && value[0].is_object()) {
      context.print("{:<25} {} (--json lists them)", key, value.size());
    } else if (value.is_object()) {
      for (const auto& [name, item] : value.items()) {
        context.print("  {:<44} {}", name,
                      item.is_string() ? item.get<std::string>() : item.dump());
      }
    } else {
      context.print("{:<25} {}", key, value.is_string() ? value.get<std::string>() : value.dump());
    }
  }
}

}  // namespace isoflop
