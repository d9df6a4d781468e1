// A parsed template. The grammar is Jinja's (jinja.palletsprojects.com/en/3.1.x/templates); what
// is left out is refused by the parser, which names it.
#pragma once
#include "eval/jinja/value.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Arguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<std::string, ExprPtr>> named;
};

struct Expr {
  enum class Kind {
    constant,   // value
    name,       // text
    list,       // items
    dict,       // keys and values in turn in items
    attribute,  // items[0].text
    index,      // items[0][items[1]]
    slice,      // items[0][items[1]:items[2]:items[3]], absent ones null
    call,       // items[0](arguments)
    filter,     // items[0] | text(arguments)
    test,       // items[0] is text(arguments)
    unary,      // text: not - +
    binary,     // text: + - * / // % ** ~ and or
    compare,    // items[0] operators[0] items[1] operators[1] ...
    condition,  // items[0] if items[1] else items[2] (may be null)
  };
  Kind kind = Kind::constant;
  int line = 0;
  std::string text;
  Value value = {};
  std::vector<ExprPtr> items = {};
  std::vector<std::string> operators = {};
  Arguments arguments = {};
};

struct Node;
using Body = std::vector<Node>;

struct Macro {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExprPtr> defaults;  // one per parameter, null where there is none
  Body body;
};

struct Node {
  enum class Kind {
    data,       // text
    output,     // value
    branches,   // conditions and bodies; one body more is the else
    loop,       // for targets in value if conditions[0]: bodies[0], else bodies[1]
    set,        // targets = value
    set_field,  // targets[0].text = value
    set_block,  // targets[0] = bodies[0] as text
    macro,
    leave,  // break
    next,   // continue
  };
  Kind kind = Kind::data;
  int line = 0;
  std::string text = {};
  ExprPtr value = {};
  std::vector<ExprPtr> conditions = {};
  std::vector<Body> bodies = {};
  std::vector<std::string> targets = {};
  std::unique_ptr<Macro> macro = {};
};

/// FormatError "ORIGIN:LINE: ..." for what is no template, or a construct that is not supported;
/// also for a template over 1 MiB, or one nested deeper than kMostSyntax.
Body parse(std::string_view text, const std::string& origin);
inline constexpr int kMostSyntax = 100;

}  // namespace isoflop::jinja
