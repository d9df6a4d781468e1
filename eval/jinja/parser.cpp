// Statements; expressions are next door.
#include "core/error.hpp"
#include "eval/jinja/expressions.hpp"

#include <algorithm>
#include <initializer_list>
#include <utility>

namespace isoflop::jinja {

namespace {

using Kind = Token::Kind;

constexpr size_t kLargestTemplate = 1 << 20;

class Parser {
 public:
  Parser(std::string_view text, const std::string& origin) : in_(text, origin) {}

  Body run() {
    std::string end;
    return body({}, end);
  }

 private:
  /// Up to a block that begins with one of `ends`, whose word is taken; without `ends` up to the
  /// end of the template.
  Body body(std::initializer_list<std::string_view> ends, std::string& end) {
    const Cursor::Level level(in_);
    const int line = in_.here().line;
    Body nodes;
    while (true) {
      if (in_.here().kind == Kind::end) {
        if (ends.size() == 0) return nodes;
        in_.fail("the block of line {} is not closed by {}", line, *(ends.end() - 1));
      }
      if (in_.here().kind == Kind::data) {
        const Token token = in_.take();
        nodes.push_back({.kind = Node::Kind::data, .line = token.line, .text = token.text});
      } else if (in_.here().kind == Kind::begin_output) {
        in_.take();
        const int at = in_.here().line;
        nodes.push_back({.kind = Node::Kind::output, .line = at, .value = parse_expression(in_)});
        if (in_.here().kind != Kind::end_output)
          in_.fail("expected }}}} here, found {}", in_.what_is_here());
        in_.take();
      } else {
        in_.take();
        const bool ended = in_.here().kind == Kind::name &&
                           std::find(ends.begin(), ends.end(), in_.here().text) != ends.end();
        if (ended) {
          end = in_.take().text;
          return nodes;
        }
        statement(nodes);
      }
    }
  }

  void statement(Body& nodes) {
    const int line = in_.here().line;
    const std::string word = in_.expect_name();
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
      if (loops_ == 0) in_.fail("{} outside a loop", word);
      node.kind = word == "break" ? Node::Kind::leave : Node::Kind::next;
      in_.expect_end_block();
    } else if (word == "generation") {  // marks what a model wrote, for training; nothing here
      in_.expect_end_block();
      std::string end;
      for (Node& inner : body({"endgeneration"}, end)) nodes.push_back(std::move(inner));
      in_.expect_end_block();
      return;
    } else {
      in_.fail("{{% {} %}} is not supported in chat templates", word);
    }
    nodes.push_back(std::move(node));
  }

  void branches(Node& node) {
    node.kind = Node::Kind::branches;
    std::string end = "elif";
    while (end == "elif") {
      node.conditions.push_back(parse_expression(in_));
      in_.expect_end_block();
      node.bodies.push_back(body({"elif", "else", "endif"}, end));
    }
    if (end == "else") {
      in_.expect_end_block();
      node.bodies.push_back(body({"endif"}, end));
    }
    in_.expect_end_block();
  }

  void loop(Node& node) {
    node.kind = Node::Kind::loop;
    node.targets = targets();
    if (!in_.skip_word("in")) in_.fail("expected in here, found {}", in_.what_is_here());
    node.value = parse_unconditional(in_);
    if (in_.skip_word("if")) node.conditions.push_back(parse_expression(in_));
    if (in_.is_word("recursive")) in_.fail("recursive loops are not supported");
    in_.expect_end_block();
    std::string end;
    ++loops_;
    node.bodies.push_back(body({"else", "endfor"}, end));
    --loops_;
    if (end == "else") {
      in_.expect_end_block();
      node.bodies.push_back(body({"endfor"}, end));
    }
    in_.expect_end_block();
  }

  std::vector<std::string> targets() {
    std::vector<std::string> names;
    const bool brackets = in_.skip_symbol("(");
    do {
      names.push_back(in_.expect_name());
    } while (in_.skip_symbol(",") && in_.here().kind == Kind::name && !in_.is_word("in"));
    if (brackets) in_.expect_symbol(")");
    return names;
  }

  void set(Node& node) {
    node.targets = targets();
    node.kind = Node::Kind::set;
    if (node.targets.size() == 1 && in_.skip_symbol(".")) {
      node.kind = Node::Kind::set_field;
      node.text = in_.expect_name();
    }
    if (in_.skip_symbol("=")) {
      node.value = parse_tuple(in_);
      in_.expect_end_block();
      return;
    }
    if (in_.here().kind != Kind::end_block || node.kind == Node::Kind::set_field ||
        node.targets.size() != 1)
      in_.fail("expected = here, found {}", in_.what_is_here());
    in_.expect_end_block();
    node.kind = Node::Kind::set_block;
    std::string end;
    node.bodies.push_back(body({"endset"}, end));
    in_.expect_end_block();
  }

  void macro(Node& node) {
    node.kind = Node::Kind::macro;
    auto made = std::make_unique<Macro>();
    made->name = in_.expect_name();
    in_.expect_symbol("(");
    while (!in_.is_symbol(")")) {
      if (!made->parameters.empty()) in_.expect_symbol(",");
      made->parameters.push_back(in_.expect_name());
      made->defaults.push_back(in_.skip_symbol("=") ? parse_expression(in_) : nullptr);
    }
    in_.expect_symbol(")");
    in_.expect_end_block();
    std::string end;
    const int loops = std::exchange(loops_, 0);
    made->body = body({"endmacro"}, end);
    loops_ = loops;
    in_.skip_word(made->name);  // may follow endmacro
    in_.expect_end_block();
    node.macro = std::move(made);
  }

  Cursor in_;
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
