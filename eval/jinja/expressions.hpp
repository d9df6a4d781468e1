// The expressions of a template: recursive descent, one function per level of Jinja's grammar.
#pragma once
#include "eval/jinja/cursor.hpp"

namespace isoflop::jinja {

ExprPtr parse_expression(Cursor& in);
/// Without `a if b else c` around it: what a loop goes through, where if begins a condition.
ExprPtr parse_unconditional(Cursor& in);
/// Also a, b: a list as well (templates cannot tell it from a tuple).
ExprPtr parse_tuple(Cursor& in);

}  // namespace isoflop::jinja
