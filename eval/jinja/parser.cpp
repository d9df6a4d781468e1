// Recursive descent, one function per level of Jinja's grammar.
#include "core/error.hpp"
#include "eval/jinja/builtins.hpp"
#include "eval/jinja/lexer.hpp"
#include "eval/jinja/syntax.hpp"

#include <algorithm>
#include <array>
#include <initializer_list>

namespace isoflop::jinja {

namespace {

using Kind = Token::Kind;

constexpr size_t kLargestTemplate = 1 << 20;

class Parser {
 public:
  Parser(std::string_view text, const std::string& origin)
      : origin_(origin), tokens_(lex(text, origin)) {}

  Body run() {
    std::string end;
    return body({}, end);
  }

 private:
  // --- tokens

  const Token& here() const { return tokens_[at_]; }
  const Token& after() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  bool is(Kind kind, std::string_view text) const {
    return here().kind == kind && here().text == text;
  }
  bool is_symbol(std::string_view text) const { return is(Kind::symbol, text); }
  bool is_word(std::string_view text) const { return is(Kind::name, text); }
  Token take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool skip(Kind kind, std::string_view text) {
    if (!is(kind, text)) return false;
    take();
    return true;
  }
  bool skip_symbol(std::string_view text) { return skip(Kind::symbol, text); }
  bool skip_word(std::string_view text) { return skip(Kind::name, text); }

  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    fail_format("{}:{}: {}", origin_, here().line,
                fmt::format(format, std::forward<Args>(args)...));
  }
  std::string what_is_here() const {
    switch (here().kind) {
      case Kind::end:
        return "the end of the template";
      case Kind::end_output:
        return "}}";
      case Kind::end_block:
        return "%}";
      case Kind::string:
        return "a string";
      default:
        return here().text.empty() ? "something else" : here().text;
    }
  }
  void expect_symbol(std::string_view text) {
    if (!skip_symbol(text)) fail("expected {} here, found {}", text, what_is_here());
  }
  std::string expect_name() {
    if (here().kind != Kind::name) fail("expected a name here, found {}", what_is_here());
    return take().text;
  }
  void expect_end_block() {
    if (here().kind != Kind::end_block) fail("expected %}} here, found {}", what_is_here());
    take();
  }

  /// Counts how deep the syntax nests while it lives.
  struct Level {
    explicit Level(Parser& p) : parser(p) {
      if (++parser.depth_ > kMostSyntax) parser.fail("nested deeper than {}", kMostSyntax);
    }
    ~Level() { --parser.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    Parser& parser;
  };

  // --- statements

  /// Up to a block that begins with one of `ends`, whose word is taken; without `ends` up to the
  /// end of the template.
  Body body(std::initializer_list<std::string_view> ends, std::string& end) {
    const Level level(*this);
    const int line = here().line;
    Body nodes;
    while (true) {
      if (here().kind == Kind::end) {
        if (ends.size() == 0) return nodes;
        fail("the block of line {} is not closed by {}", line, *(ends.end() - 1));
      }
      if (here().kind == Kind::data) {
        const Token token = take();
        nodes.push_back({.kind = Node::Kind::data, .line = token.line, .text = token.text});
      } else if (here().kind == Kind::begin_output) {
        take();
        const int at = here().line;
        nodes.push_back({.kind = Node::Kind::output, .line = at, .value = expression()});
        if (here().kind != Kind::end_output) fail("expected }}}} here, found {}", what_is_here());
        take();
      } else {
        take();
        const bool ended = here().kind == Kind::name &&
                           std::find(ends.begin(), ends.end(), here().text) != ends.end();
        if (ended) {
          end = take().text;
          return nodes;
        }
        statement(nodes);
      }
    }
  }

  void statement(Body& nodes) {
    const int line = here().line;
    const std::string word = expect_name();
    Node node;
    node.line = line;
    if (word == "if") {
      branches(node);
    } else if (word == "for") {
      loop(node);
    } else if (word == "set") {
      set(node);
    } else if (word == "macro") {
      macro(node);
    } else if (word == "break" || word == "continue") {
      if (loops_ == 0) fail("{} outside a loop", word);
      node.kind = word == "break" ? Node::Kind::leave : Node::Kind::next;
      expect_end_block();
    } else if (word == "generation") {  // marks what a model wrote, for training; nothing here
      expect_end_block();
      std::string end;
      for (Node& inner : body({"endgeneration"}, end)) nodes.push_back(std::move(inner));
      expect_end_block();
      return;
    } else {
      fail("{{% {} %}} is not supported in chat templates", word);
    }
    nodes.push_back(std::move(node));
  }

  void branches(Node& node) {
    node.kind = Node::Kind::branches;
    std::string end = "elif";
    while (end == "elif") {
      node.conditions.push_back(expression());
      expect_end_block();
      node.bodies.push_back(body({"elif", "else", "endif"}, end));
    }
    if (end == "else") {
      expect_end_block();
      node.bodies.push_back(body({"endif"}, end));
    }
    expect_end_block();
  }

  void loop(Node& node) {
    node.kind = Node::Kind::loop;
    node.targets = targets();
    if (!skip_word("in")) fail("expected in here, found {}", what_is_here());
    node.value = without_condition();
    if (skip_word("if")) node.conditions.push_back(expression());
    if (is_word("recursive")) fail("recursive loops are not supported");
    expect_end_block();
    std::string end;
    ++loops_;
    node.bodies.push_back(body({"else", "endfor"}, end));
    --loops_;
    if (end == "else") {
      expect_end_block();
      node.bodies.push_back(body({"endfor"}, end));
    }
    expect_end_block();
  }

  std::vector<std::string> targets() {
    std::vector<std::string> names;
    const bool brackets = skip_symbol("(");
    do {
      names.push_back(expect_name());
    } while (skip_symbol(",") && here().kind == Kind::name && !is_word("in"));
    if (brackets) expect_symbol(")");
    return names;
  }

  void set(Node& node) {
    node.targets = targets();
    node.kind = Node::Kind::set;
    if (node.targets.size() == 1 && skip_symbol(".")) {
      node.kind = Node::Kind::set_field;
      node.text = expect_name();
    }
    if (skip_symbol("=")) {
      node.value = tuple();
      expect_end_block();
      return;
    }
    if (here().kind != Kind::end_block || node.kind == Node::Kind::set_field ||
        node.targets.size() != 1)
      fail("expected = here, found {}", what_is_here());
    expect_end_block();
    node.kind = Node::Kind::set_block;
    std::string end;
    node.bodies.push_back(body({"endset"}, end));
    expect_end_block();
  }

  void macro(Node& node) {
    node.kind = Node::Kind::macro;
    auto made = std::make_unique<Macro>();
    made->name = expect_name();
    expect_symbol("(");
    while (!is_symbol(")")) {
      if (!made->parameters.empty()) expect_symbol(",");
      made->parameters.push_back(expect_name());
      made->defaults.push_back(skip_symbol("=") ? expression() : nullptr);
    }
    expect_symbol(")");
    expect_end_block();
    std::string end;
    const int loops = std::exchange(loops_, 0);
    made->body = body({"endmacro"}, end);
    loops_ = loops;
    skip_word(made->name);  // may follow endmacro
    expect_end_block();
    node.macro = std::move(made);
  }

  // --- expressions, loosest first

  static ExprPtr make(Expr::Kind kind, int line, std::string text = {}) {
    auto expr = std::make_unique<Expr>();
    expr->kind = kind;
    expr->line = line;
    expr->text = std::move(text);
    return expr;
  }
  template <class... Items>
  ExprPtr make_of(Expr::Kind kind, std::string text, Items... items) {
    ExprPtr expr = make(kind, here().line, std::move(text));
    (expr->items.push_back(std::move(items)), ...);
    return expr;
  }

  /// a, b: a list as well (templates cannot tell it from a tuple).
  ExprPtr tuple() {
    ExprPtr first = expression();
    if (!is_symbol(",")) return first;
    ExprPtr list = make_of(Expr::Kind::list, "", std::move(first));
    while (skip_symbol(",") && here().kind != Kind::end_block && !is_symbol(")"))
      list->items.push_back(expression());
    return list;
  }

  ExprPtr expression() {
    const Level level(*this);
    ExprPtr value = without_condition();
    Chain chain(*this);
    while (skip_word("if")) {
      chain.link();
      ExprPtr condition = without_condition();
      ExprPtr otherwise = skip_word("else") ? expression() : nullptr;
      value = make_of(Expr::Kind::condition, "", std::move(value), std::move(condition),
                      std::move(otherwise));
    }
    return value;
  }

  /// An operator after an operator nests the tree to the left, without recursion here.
  struct Chain {
    explicit Chain(Parser& p) : parser(p) {}
    ~Chain() { parser.depth_ -= links; }
    Chain(const Chain&) = delete;
    Chain& operator=(const Chain&) = delete;
    void link() {
      ++links;
      if (++parser.depth_ > kMostSyntax)
        parser.fail("nested deeper, or an expression longer, than {}", kMostSyntax);
    }
    Parser& parser;
    int links = 0;
  };

  ExprPtr without_condition() { return any_of(); }

  ExprPtr any_of() {
    ExprPtr left = all_of();
    Chain chain(*this);
    while (skip_word("or")) {
      chain.link();
      ExprPtr right = all_of();
      left = make_of(Expr::Kind::binary, "or", std::move(left), std::move(right));
    }
    return left;
  }

  ExprPtr all_of() {
    ExprPtr left = negation();
    Chain chain(*this);
    while (skip_word("and")) {
      chain.link();
      ExprPtr right = negation();
      left = make_of(Expr::Kind::binary, "and", std::move(left), std::move(right));
    }
    return left;
  }

  ExprPtr negation() {
    if (!is_word("not")) return comparison();
    const Level level(*this);
    take();
    return make_of(Expr::Kind::unary, "not", negation());
  }

  ExprPtr comparison() {
    ExprPtr left = sum();
    ExprPtr chain;
    while (true) {
      std::string op;
      for (const std::string_view symbol : {"==", "!=", "<", ">", "<=", ">="})
        if (is_symbol(symbol)) op = symbol;
      if (!op.empty()) {
        take();
      } else if (skip_word("in")) {
        op = "in";
      } else if (is_word("not") && after().kind == Kind::name && after().text == "in") {
        take();
        take();
        op = "not in";
      } else {
        return chain ? std::move(chain) : std::move(left);
      }
      if (!chain) chain = make_of(Expr::Kind::compare, "", std::move(left));
      chain->operators.push_back(op);
      chain->items.push_back(sum());
    }
  }

  ExprPtr binary(std::initializer_list<std::string_view> symbols, ExprPtr (Parser::*operand)()) {
    ExprPtr left = (this->*operand)();
    Chain chain(*this);
    while (here().kind == Kind::symbol &&
           std::find(symbols.begin(), symbols.end(), here().text) != symbols.end()) {
      const std::string op = take().text;
      chain.link();
      ExprPtr right = (this->*operand)();
      left = make_of(Expr::Kind::binary, op, std::move(left), std::move(right));
    }
    return left;
  }
  ExprPtr sum() { return binary({"+", "-"}, &Parser::joined); }
  ExprPtr joined() { return binary({"~"}, &Parser::product); }
  ExprPtr product() { return binary({"*", "/", "//", "%"}, &Parser::power); }
  ExprPtr power() { return binary({"**"}, &Parser::filtered); }

  ExprPtr filtered() { return filters(sign()); }

  ExprPtr sign() {
    if (!is_symbol("-") && !is_symbol("+")) return postfix(primary());
    const Level level(*this);
    const std::string op = take().text;
    return make_of(Expr::Kind::unary, op, sign());
  }

  ExprPtr postfix(ExprPtr value) {
    Chain chain(*this);
    while (true) {
      if (skip_symbol(".")) {
        const bool number = here().kind == Kind::integer;
        const std::string name = number ? take().text : expect_name();
        value = make_of(Expr::Kind::attribute, name, std::move(value));
      } else if (skip_symbol("[")) {
        value = subscript(std::move(value));
      } else if (is_symbol("(")) {
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
    while (!is_symbol("]")) {
      if (skip_symbol(":")) {
        if (++colons > 2) fail("a slice has at most two colons");
      } else {
        if (parts[colons]) fail("expected ] here, found {}", what_is_here());
        parts[colons] = expression();
      }
    }
    take();
    if (colons > 0)
      return make_of(Expr::Kind::slice, "", std::move(value), std::move(parts[0]),
                     std::move(parts[1]), std::move(parts[2]));
    if (!parts[0]) fail("there is nothing between [ and ]");
    return make_of(Expr::Kind::index, "", std::move(value), std::move(parts[0]));
  }

  Arguments arguments() {
    Arguments result;
    expect_symbol("(");
    while (!is_symbol(")")) {
      if (is_symbol("*") || is_symbol("**")) fail("arguments unpacked by * are not supported");
      if (here().kind == Kind::name && after().kind == Kind::symbol && after().text == "=") {
        std::string name = take().text;
        take();
        result.named.emplace_back(std::move(name), expression());
      } else {
        result.positional.push_back(expression());
      }
      if (!skip_symbol(",") && !is_symbol(")"))
        fail("expected , or ) here, found {}", what_is_here());
    }
    take();
    return result;
  }

  ExprPtr filters(ExprPtr value) {
    Chain chain(*this);
    while (true) {
      ExprPtr next;
      if (skip_symbol("|")) {
        next = make_of(Expr::Kind::filter, expect_name(), std::move(value));
        if (!is_filter(next->text)) fail("there is no filter {} here", next->text);
        if (is_symbol("(")) next->arguments = arguments();
      } else if (is_word("is")) {
        take();
        const bool negated = skip_word("not");
        next = test(std::move(value));
        if (negated) next = make_of(Expr::Kind::unary, "not", std::move(next));
      } else if (is_symbol("(") || is_symbol("[") || is_symbol(".")) {
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
    expr->text = expect_name();
    if (!is_test(expr->text)) fail("there is no test {} here", expr->text);
    if (is_symbol("(")) {
      expr->arguments = arguments();
    } else if (starts_operand()) {
      expr->arguments.positional.push_back(postfix(primary()));
    }
    return expr;
  }

  /// `x is divisibleby 3`: an argument without brackets.
  bool starts_operand() const {
    if (here().kind == Kind::name)
      return !is_word("else") && !is_word("or") && !is_word("and") && !is_word("if") &&
             !is_word("is") && !is_word("in") && !is_word("not");
    return here().kind == Kind::string || here().kind == Kind::integer ||
           here().kind == Kind::real || is_symbol("[") || is_symbol("{");
  }

  ExprPtr primary() {
    const Level level(*this);
    const Token token = take();
    ExprPtr expr = make(Expr::Kind::constant, token.line);
    if (token.kind == Kind::string) {
      std::string text = token.text;
      while (here().kind == Kind::string) text += take().text;
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
      if (skip_symbol(")")) {
        expr->kind = Expr::Kind::list;
        return expr;
      }
      expr = tuple();
      expect_symbol(")");
    } else if (token.kind == Kind::symbol && token.text == "[") {
      expr->kind = Expr::Kind::list;
      while (!skip_symbol("]")) {
        expr->items.push_back(expression());
        if (!skip_symbol(",") && !is_symbol("]"))
          fail("expected , or ] here, found {}", what_is_here());
      }
    } else if (token.kind == Kind::symbol && token.text == "{") {
      expr->kind = Expr::Kind::dict;
      while (!skip_symbol("}")) {
        expr->items.push_back(expression());
        expect_symbol(":");
        expr->items.push_back(expression());
        if (!skip_symbol(",") && !is_symbol("}"))
          fail("expected , or }} here, found {}", what_is_here());
      }
    } else {
      if (token.kind != Kind::end) --at_;
      fail("expected a value here, found {}", what_is_here());
    }
    return expr;
  }

  const std::string& origin_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;
};

}  // namespace

Body parse(std::string_view text, const std::string& origin) {
  if (text.size() > kLargestTemplate)
    fail_format("{}: a chat template of {} bytes; more than {} is refused", origin, text.size(),
                kLargestTemplate);
  return Parser(text, origin).run();
}

}  // namespace isoflop::jinja
