#include "eval/jinja/expressions.hpp"

#include "eval/jinja/builtins.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>

namespace isoflop::jinja {

namespace {

using Kind = Token::Kind;

/// Loosest first.
class Expressions {
 public:
  explicit Expressions(Cursor& in) : in_(in) {}

  ExprPtr tuple() {
    ExprPtr first = expression();
    if (!in_.is_symbol(",")) return first;
    ExprPtr list = make_of(Expr::Kind::list, "", std::move(first));
    while (in_.skip_symbol(",") && in_.here().kind != Kind::end_block && !in_.is_symbol(")"))
      list->items.push_back(expression());
    return list;
  }

  ExprPtr expression() {
    const Cursor::Level level(in_);
    ExprPtr value = unconditional();
    Cursor::Chain chain(in_);
    while (in_.skip_word("if")) {
      chain.link();
      ExprPtr condition = unconditional();
      ExprPtr otherwise = in_.skip_word("else") ? expression() : nullptr;
      value = make_of(Expr::Kind::condition, "", std::move(value), std::move(condition),
                      std::move(otherwise));
    }
    return value;
  }

  ExprPtr unconditional() {
    ExprPtr left = all_of();
    Cursor::Chain chain(in_);
    while (in_.skip_word("or")) {
      chain.link();
      ExprPtr right = all_of();
      left = make_of(Expr::Kind::binary, "or", std::move(left), std::move(right));
    }
    return left;
  }

 private:
  static ExprPtr make(Expr::Kind kind, int line, std::string text = {}) {
    auto expr = std::make_unique<Expr>();
    expr->kind = kind;
    expr->line = line;
    expr->text = std::move(text);
    return expr;
  }
  template <class... Items>
  ExprPtr make_of(Expr::Kind kind, std::string text, Items... items) {
    ExprPtr expr = make(kind, in_.here().line, std::move(text));
    (expr->items.push_back(std::move(items)), ...);
    return expr;
  }

  ExprPtr all_of() {
    ExprPtr left = negation();
    Cursor::Chain chain(in_);
    while (in_.skip_word("and")) {
      chain.link();
      ExprPtr right = negation();
      left = make_of(Expr::Kind::binary, "and", std::move(left), std::move(right));
    }
    return left;
  }

  ExprPtr negation() {
    if (!in_.is_word("not")) return comparison();
    const Cursor::Level level(in_);
    in_.take();
    return make_of(Expr::Kind::unary, "not", negation());
  }

  ExprPtr comparison() {
    ExprPtr left = sum();
    ExprPtr chain;
    while (true) {
      std::string op;
      for (const std::string_view symbol : {"==", "!=", "<", ">", "<=", ">="})
        if (in_.is_symbol(symbol)) op = symbol;
      if (!op.empty()) {
        in_.take();
      } else if (in_.skip_word("in")) {
        op = "in";
      } else if (in_.is_word("not") && in_.after().kind == Kind::name && in_.after().text == "in") {
        in_.take();
        in_.take();
        op = "not in";
      } else {
        return chain ? std::move(chain) : std::move(left);
      }
      if (!chain) chain = make_of(Expr::Kind::compare, "", std::move(left));
      chain->operators.push_back(op);
      chain->items.push_back(sum());
    }
  }

  ExprPtr binary(std::initializer_list<std::string_view> symbols,
                 ExprPtr (Expressions::*operand)()) {
    ExprPtr left = (this->*operand)();
    Cursor::Chain chain(in_);
    while (in_.here().kind == Kind::symbol &&
           std::find(symbols.begin(), symbols.end(), in_.here().text) != symbols.end()) {
      const std::string op = in_.take().text;
      chain.link();
      ExprPtr right = (this->*operand)();
      left = make_of(Expr::Kind::binary, op, std::move(left), std::move(right));
    }
    return left;
  }
  ExprPtr sum() { return binary({"+", "-"}, &Expressions::joined); }
  ExprPtr joined() { return binary({"~"}, &Expressions::product); }
  ExprPtr product() { return binary({"*", "/", "//", "%"}, &Expressions::power); }
  ExprPtr power() { return binary({"**"}, &Expressions::filtered); }

  ExprPtr filtered() { return filters(sign()); }

  ExprPtr sign() {
    if (!in_.is_symbol("-") && !in_.is_symbol("+")) return postfix(primary());
    const Cursor::Level level(in_);
    const std::string op = in_.take().text;
    return make_of(Expr::Kind::unary, op, sign());
  }

  ExprPtr postfix(ExprPtr value) {
    Cursor::Chain chain(in_);
    while (true) {
      if (in_.skip_symbol(".")) {
        const bool number = in_.here().kind == Kind::integer;
        const std::string name = number ? in_.take().text : in_.expect_name();
        value = make_of(Expr::Kind::attribute, name, std::move(value));
      } else if (in_.skip_symbol("[")) {
        value = subscript(std::move(value));
      } else if (in_.is_symbol("(")) {
        ExprPtr call = make_of(Expr::Kind::call, "", std::move(value));
        call->arguments = arguments();
        value = std::move(call);
      } else {
        return value;
      }
      chain.link();
    }
  }

  ExprPtr subscript(ExprPtr value) {
    std::array<ExprPtr, 3> parts;
    size_t colons = 0;
    while (!in_.is_symbol("]")) {
      if (in_.skip_symbol(":")) {
        if (++colons > 2) in_.fail("a slice has at most two colons");
      } else {
        if (parts[colons]) in_.fail("expected ] here, found {}", in_.what_is_here());
        parts[colons] = expression();
      }
    }
    in_.take();
    if (colons > 0)
      return make_of(Expr::Kind::slice, "", std::move(value), std::move(parts[0]),
                     std::move(parts[1]), std::move(parts[2]));
    if (!parts[0]) in_.fail("there is nothing between [ and ]");
    return make_of(Expr::Kind::index, "", std::move(value), std::move(parts[0]));
  }

  Arguments arguments() {
    Arguments result;
    in_.expect_symbol("(");
    while (!in_.is_symbol(")")) {
      if (in_.is_symbol("*") || in_.is_symbol("**"))
        in_.fail("arguments unpacked by * are not supported");
      if (in_.here().kind == Kind::name && in_.after().kind == Kind::symbol &&
          in_.after().text == "=") {
        std::string name = in_.take().text;
        in_.take();
        result.named.emplace_back(std::move(name), expression());
      } else {
        result.positional.push_back(expression());
      }
      if (!in_.skip_symbol(",") && !in_.is_symbol(")"))
        in_.fail("expected , or ) here, found {}", in_.what_is_here());
    }
    in_.take();
    return result;
  }

  ExprPtr filters(ExprPtr value) {
    Cursor::Chain chain(in_);
    while (true) {
      ExprPtr next;
      if (in_.skip_symbol("|")) {
        next = make_of(Expr::Kind::filter, in_.expect_name(), std::move(value));
        if (!is_filter(next->text)) in_.fail("there is no filter {} here", next->text);
        if (in_.is_symbol("(")) next->arguments = arguments();
      } else if (in_.is_word("is")) {
        in_.take();
        const bool negated = in_.skip_word("not");
        next = test(std::move(value));
        if (negated) next = make_of(Expr::Kind::unary, "not", std::move(next));
      } else if (in_.is_symbol("(") || in_.is_symbol("[") || in_.is_symbol(".")) {
        value = postfix(std::move(value));  // such as (a | list)[0] without brackets
        continue;
      } else {
        return value;
      }
      value = std::move(next);
      chain.link();
    }
  }

  ExprPtr test(ExprPtr value) {
    ExprPtr expr = make_of(Expr::Kind::test, "", std::move(value));
    expr->text = in_.expect_name();
    if (!is_test(expr->text)) in_.fail("there is no test {} here", expr->text);
    if (in_.is_symbol("(")) {
      expr->arguments = arguments();
    } else if (starts_operand()) {
      expr->arguments.positional.push_back(postfix(primary()));
    }
    return expr;
  }

  /// `x is divisibleby 3`: an argument without brackets.
  bool starts_operand() const {
    if (in_.here().kind == Kind::name)
      return !in_.is_word("else") && !in_.is_word("or") && !in_.is_word("and") &&
             !in_.is_word("if") && !in_.is_word("is") && !in_.is_word("in") && !in_.is_word("not");
    return in_.here().kind == Kind::string || in_.here().kind == Kind::integer ||
           in_.here().kind == Kind::real || in_.is_symbol("[") || in_.is_symbol("{");
  }

  ExprPtr primary() {
    const Cursor::Level level(in_);
    const Token token = in_.take();
    ExprPtr expr = make(Expr::Kind::constant, token.line);
    if (token.kind == Kind::string) {
      std::string text = token.text;
      while (in_.here().kind == Kind::string) text += in_.take().text;
      expr->value = text;
    } else if (token.kind == Kind::integer) {
      expr->value = token.integer;
    } else if (token.kind == Kind::real) {
      expr->value = token.real;
    } else if (token.kind == Kind::name) {
      if (token.text == "true" || token.text == "True") {
        expr->value = true;
      } else if (token.text == "false" || token.text == "False") {
        expr->value = false;
      } else if (token.text == "none" || token.text == "None") {
        expr->value = None{};
      } else {
        expr->kind = Expr::Kind::name;
        expr->text = token.text;
      }
    } else if (token.kind == Kind::symbol && token.text == "(") {
      if (in_.skip_symbol(")")) {
        expr->kind = Expr::Kind::list;
        return expr;
      }
      expr = tuple();
      in_.expect_symbol(")");
    } else if (token.kind == Kind::symbol && token.text == "[") {
      expr->kind = Expr::Kind::list;
      while (!in_.skip_symbol("]")) {
        expr->items.push_back(expression());
        if (!in_.skip_symbol(",") && !in_.is_symbol("]"))
          in_.fail("expected , or ] here, found {}", in_.what_is_here());
      }
    } else if (token.kind == Kind::symbol && token.text == "{") {
      expr->kind = Expr::Kind::dict;
      while (!in_.skip_symbol("}")) {
        expr->items.push_back(expression());
        in_.expect_symbol(":");
        expr->items.push_back(expression());
        if (!in_.skip_symbol(",") && !in_.is_symbol("}"))
          in_.fail("expected , or }} here, found {}", in_.what_is_here());
      }
    } else {
      if (token.kind != Kind::end) in_.back();
      in_.fail("expected a value here, found {}", in_.what_is_here());
    }
    return expr;
  }

  Cursor& in_;
};

}  // namespace

ExprPtr parse_expression(Cursor& in) {
  return Expressions(in).expression();
}

ExprPtr parse_unconditional(Cursor& in) {
  return Expressions(in).unconditional();
}

ExprPtr parse_tuple(Cursor& in) {
  return Expressions(in).tuple();
}

}  // namespace isoflop::jinja
