// Template: a subset of Jinja large enough for public chat templates, and a judge of the rest.
//
// A template comes with a model file, so it is hostile: it reads nothing but its variables, changes
// nothing but its own, and is held to bounds of nesting, steps, memory and output (Budget), beyond
// which it is refused. What is not supported is a FormatError "ORIGIN:LINE: ...", most of it when
// the template is read.
#pragma once
#include "eval/jinja/syntax.hpp"

#include <string>
#include <string_view>

namespace isoflop::jinja {

class Template {
 public:
  /// `origin` stands for the template in messages.
  Template(std::string_view text, std::string origin);

  /// What a rendering may make, in bytes or what costs as much; less than a second's work.
  static constexpr size_t kMostWork = 32 << 20;

  /// FormatError when the template refuses (raise_exception), fails or is out of bounds.
  std::string render(const Dict& variables, size_t most_work = kMostWork) const;

 private:
  std::string origin_;
  Body body_;
};

}  // namespace isoflop::jinja
