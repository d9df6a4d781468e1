// Whether every element of a piece of HTML or SVG that is opened is closed, in order.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace isoflop::test {

/// In words; empty when there is nothing wrong.
inline std::string tag_problem(std::string_view text) {
  std::vector<std::string> open;
  for (size_t at = text.find('<'); at != text.npos; at = text.find('<', at + 1)) {
    const size_t end = text.find('>', at);
    if (end == text.npos) return "a tag without its end";
    const std::string_view tag = text.substr(at + 1, end - at - 1);
    if (tag.find('<') != tag.npos) return "< inside of " + std::string(tag);
    if (tag.starts_with('!') || tag.ends_with('/')) continue;
    const std::string name(
        tag.substr(tag.starts_with('/'), tag.find_first_of(" \n/", 1) - tag.starts_with('/')));
    if (name == "meta" || name == "link") continue;
    if (!tag.starts_with('/')) {
      open.push_back(name);
      continue;
    }
    if (open.empty() || open.back() != name) return "unexpected </" + name + ">";
    open.pop_back();
  }
  return open.empty() ? "" : "not closed: " + open.back();
}

}  // namespace isoflop::test
