// Where a parser stands in the tokens of a template, and how deep it nests there.
#pragma once
#include "core/error.hpp"
#include "eval/jinja/lexer.hpp"
#include "eval/jinja/syntax.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop::jinja {

class Cursor {
 public:
  using Kind = Token::Kind;

  /// FormatError, as from every function here, when the text is no template. `origin` outlives it.
  Cursor(std::string_view text, const std::string& origin)
      : origin_(origin), tokens_(lex(text, origin)) {}

  const Token& here() const { return tokens_[at_]; }
  const Token& after() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  bool is(Kind kind, std::string_view text) const {
    return here().kind == kind && here().text == text;
  }
  bool is_symbol(std::string_view text) const { return is(Kind::symbol, text); }
  bool is_word(std::string_view text) const { return is(Kind::name, text); }
  Token take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  /// After take() of anything but the end.
  void back() { --at_; }
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
    explicit Level(Cursor& c) : cursor(c) {
      if (++cursor.depth_ > kMostSyntax) cursor.fail("nested deeper than {}", kMostSyntax);
    }
    ~Level() { --cursor.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    Cursor& cursor;
  };

  /// An operator after an operator nests the tree to the left, without recursion here.
  struct Chain {
    explicit Chain(Cursor& c) : cursor(c) {}
    ~Chain() { cursor.depth_ -= links; }
    Chain(const Chain&) = delete;
    Chain& operator=(const Chain&) = delete;
    void link() {
      ++links;
      if (++cursor.depth_ > kMostSyntax)
        cursor.fail("nested deeper, or an expression longer, than {}", kMostSyntax);
    }
    Cursor& cursor;
    int links = 0;
  };

 private:
  const std::string& origin_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace isoflop::jinja
