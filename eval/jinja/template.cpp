#include "eval/jinja/template.hpp"

#include "core/error.hpp"
#include "eval/jinja/builtins.hpp"

#include <algorithm>
#include <ctime>

namespace isoflop::jinja {

namespace {

constexpr int kMostDepth = 400;  // of statements and expressions that are being worked on

class Interpreter {
 public:
  Interpreter(const Dict& variables, size_t most_work) : budget_(most_work) {
    frames_.push_back({.variables = variables});
  }

  std::string run(const Body& body) {
    execute(body);
    return std::move(out_);
  }
  int line() const { return line_; }

 private:
  /// Names, and where to look on: a loop's frame knows the one around it, a macro's the outermost.
  struct Frame {
    Dict variables = {};
    size_t parent = 0;
  };
  enum class Flow { on, leave, next };

  struct Level {
    Level(Interpreter& i, int line) : in(i) {
      in.line_ = line;
      in.budget_.spend(Budget::kPerNode);
      if (++in.depth_ > kMostDepth)
        fail_user("it nests or calls itself deeper than {}", kMostDepth);
    }
    ~Level() { --in.depth_; }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    Interpreter& in;
  };

  // --- statements

  Flow execute(const Body& body) {
    for (const Node& node : body)
      if (const Flow flow = execute(node); flow != Flow::on) return flow;
    return Flow::on;
  }

  Flow execute(const Node& node) {
    const Level level(*this, node.line);
    switch (node.kind) {
      case Node::Kind::data:
        write(node.text);
        break;
      case Node::Kind::output:
        write(to_text(evaluate(*node.value), budget_));
        break;
      case Node::Kind::branches:
        return branch(node);
      case Node::Kind::loop:
        return loop(node);
      case Node::Kind::set:
        assign(node.targets, evaluate(*node.value));
        break;
      case Node::Kind::set_field:
        set_field(node);
        break;
      case Node::Kind::set_block:
        set(node.targets[0], captured(node.bodies[0]));
        break;
      case Node::Kind::macro:
        set(node.macro->name, node.macro.get());
        break;
      case Node::Kind::leave:
        return Flow::leave;
      case Node::Kind::next:
        return Flow::next;
    }
    return Flow::on;
  }

  void write(std::string_view text) {
    budget_.spend(text.size());
    out_ += text;
  }

  Flow branch(const Node& node) {
    for (size_t i = 0; i < node.conditions.size(); ++i)
      if (evaluate(*node.conditions[i]).truth()) return execute(node.bodies[i]);
    return node.bodies.size() > node.conditions.size() ? execute(node.bodies.back()) : Flow::on;
  }

  Flow loop(const Node& node) {
    List items = items_of(evaluate(*node.value), budget_);
    if (!node.conditions.empty()) {
      List kept;
      for (const Value& item : items) {
        push_frame(frame_);
        assign(node.targets, item);
        if (evaluate(*node.conditions[0]).truth()) kept.push_back(item);
        pop_frame();
      }
      items = std::move(kept);
    }
    if (items.empty()) return node.bodies.size() > 1 ? execute(node.bodies[1]) : Flow::on;
    for (size_t i = 0; i < items.size(); ++i) {
      push_frame(frame_);
      set("loop", loop_variables(items, i));
      assign(node.targets, items[i]);
      const Flow flow = execute(node.bodies[0]);
      pop_frame();
      if (flow == Flow::leave) break;
    }
    return Flow::on;
  }

  Value loop_variables(const List& items, size_t i) {
    const auto at = static_cast<int64_t>(i), size = static_cast<int64_t>(items.size());
    budget_.spend(10 * Budget::kPerItem);
    Dict d = {{"index", at + 1},           {"index0", at},   {"first", at == 0},
              {"last", at + 1 == size},    {"length", size}, {"revindex", size - at},
              {"revindex0", size - at - 1}};
    d.emplace_back("previtem", i > 0 ? items[i - 1] : Value(Undefined{"loop.previtem"}));
    d.emplace_back("nextitem",
                   i + 1 < items.size() ? items[i + 1] : Value(Undefined{"loop.nextitem"}));
    return d;
  }

  void assign(const std::vector<std::string>& targets, const Value& value) {
    if (targets.size() == 1) return set(targets[0], value);
    const List parts = items_of(value, budget_);
    if (parts.size() != targets.size())
      fail_user("{} values for {} names", parts.size(), targets.size());
    for (size_t i = 0; i < parts.size(); ++i) set(targets[i], parts[i]);
  }

  void set_field(const Node& node) {
    const Value target = find(node.targets[0]);
    Namespace* space = target.name_space();
    if (!space) fail_user("{}.{} cannot be set: only a namespace's", node.targets[0], node.text);
    Value value = evaluate(*node.value);
    if (value.name_space()) fail_user("a namespace cannot be put into another value");
    budget_.spend(space->items.size());
    put(space->items, node.text, std::move(value));
  }

  /// What a body writes, as a value.
  std::string captured(const Body& body) {
    std::string before = std::exchange(out_, {});
    execute(body);
    return std::exchange(out_, std::move(before));
  }

  // --- names

  void push_frame(size_t parent) {
    frames_.push_back({.variables = {}, .parent = parent});
    callers_.push_back(frame_);
    frame_ = frames_.size() - 1;
  }
  void pop_frame() {
    frames_.pop_back();
    frame_ = callers_.back();
    callers_.pop_back();
  }
  void set(const std::string& name, Value value) {
    Dict& variables = frames_[frame_].variables;
    budget_.spend(variables.size());
    put(variables, name, std::move(value));
  }
  Value find(const std::string& name) {
    for (size_t at = frame_;; at = frames_[at].parent) {
      const Dict& variables = frames_[at].variables;
      budget_.spend(variables.size() / 4);
      const auto found = std::find_if(variables.begin(), variables.end(),
                                      [&](const auto& v) { return v.first == name; });
      if (found != variables.end()) return found->second;
      if (at == 0) return Undefined{name};
    }
  }

  // --- expressions

  Value evaluate(const Expr& e) {
    const Level level(*this, e.line);
    switch (e.kind) {
      case Expr::Kind::constant:
        return e.value;
      case Expr::Kind::name:
        return find(e.text);
      case Expr::Kind::list:
        return list(e);
      case Expr::Kind::dict:
        return dict(e);
      case Expr::Kind::attribute:
        return attribute(e);
      case Expr::Kind::index: {
        const Value value = evaluate(*e.items[0]);
        return item_of(value, evaluate(*e.items[1]), budget_);
      }
      case Expr::Kind::slice: {
        const Value value = evaluate(*e.items[0]);
        const auto part = [&](size_t i) { return e.items[i] ? evaluate(*e.items[i]) : Value(); };
        const Value start = part(1), stop = part(2);
        return slice_of(value, start, stop, part(3), budget_);
      }
      case Expr::Kind::call:
        return call(e);
      case Expr::Kind::filter: {
        const Value value = evaluate(*e.items[0]);
        return apply_filter(e.text, value, arguments(e.arguments), budget_);
      }
      case Expr::Kind::test: {
        const Value value = evaluate(*e.items[0]);
        return apply_test(e.text, value, arguments(e.arguments), budget_);
      }
      case Expr::Kind::unary:
        return unary(e);
      case Expr::Kind::binary:
        return binary(e);
      case Expr::Kind::compare:
        return chain(e);
      case Expr::Kind::condition:
        if (evaluate(*e.items[1]).truth()) return evaluate(*e.items[0]);
        return e.items[2] ? evaluate(*e.items[2]) : Value(Undefined{"a condition without else"});
    }
    return {};
  }

  Value list(const Expr& e) {
    List items;
    for (const ExprPtr& item : e.items) {
      budget_.spend(Budget::kPerItem);
      items.push_back(evaluate(*item));
    }
    return items;
  }

  Value dict(const Expr& e) {
    Dict items;
    for (size_t i = 0; i < e.items.size(); i += 2) {
      const Value key = evaluate(*e.items[i]);
      if (!key.text()) fail_user("the key of a dict is {}, not a string", key.type_name());
      budget_.spend(Budget::kPerItem + items.size());
      put(items, *key.text(), evaluate(*e.items[i + 1]));
    }
    return items;
  }

  Value attribute(const Expr& e) {
    const Value value = evaluate(*e.items[0]);
    if (e.text[0] >= '0' && e.text[0] <= '9' && e.text.size() < 10)
      return item_of(value, static_cast<int64_t>(std::stoi(e.text)), budget_);
    return item_of(value, e.text, budget_);
  }

  CallArguments arguments(const Arguments& from) {
    CallArguments result;
    for (const ExprPtr& e : from.positional) result.positional.push_back(evaluate(*e));
    for (const auto& [name, e] : from.named) result.named.emplace_back(name, evaluate(*e));
    return result;
  }

  Value call(const Expr& e) {
    const Expr& callee = *e.items[0];
    if (callee.kind == Expr::Kind::attribute) {
      const Value value = evaluate(*callee.items[0]);
      const Value* own = value.find(callee.text);
      const CallArguments a = arguments(e.arguments);
      if (own && own->get<const Macro*>()) return call_macro(**own->get<const Macro*>(), a);
      line_ = e.line;
      return call_method(value, callee.text, a, budget_);
    }
    if (callee.kind != Expr::Kind::name) fail_user("this cannot be called");
    const Value value = find(callee.text);
    const CallArguments a = arguments(e.arguments);
    line_ = e.line;
    if (const auto* macro = value.get<const Macro*>()) return call_macro(**macro, a);
    if (!value.is_undefined())
      fail_user("{} is {} and cannot be called", callee.text, value.type_name());
    return call_global(callee.text, a);
  }

  Value call_macro(const Macro& macro, const CallArguments& a) {
    if (a.positional.size() > macro.parameters.size())
      fail_user("{} takes {} arguments, not {}", macro.name, macro.parameters.size(),
                a.positional.size());
    for (const auto& argument : a.named)
      if (std::find(macro.parameters.begin(), macro.parameters.end(), argument.first) ==
          macro.parameters.end())
        fail_user("{} has no argument {}", macro.name, argument.first);
    push_frame(0);
    for (size_t i = 0; i < macro.parameters.size(); ++i) {
      Value value = a.get(i, macro.parameters[i]);
      if (value.is_undefined() && macro.defaults[i]) value = evaluate(*macro.defaults[i]);
      if (value.is_undefined()) value = Undefined{macro.parameters[i]};
      set(macro.parameters[i], std::move(value));
    }
    std::string text = captured(macro.body);
    pop_frame();
    return text;
  }

  Value call_global(const std::string& name, const CallArguments& a) {
    if (name == "raise_exception") {
      a.only(name, 1, {"message"});
      fail_user("the template refuses: {}", to_text(a.get(0, "message"), budget_));
    }
    if (name == "range") return range(a);
    if (name == "namespace") {
      Dict items;
      if (!a.positional.empty()) {
        a.only(name, 1);
        if (!a.positional[0].dict()) fail_user("namespace() takes names, or one dict");
        items = *a.positional[0].dict();
      }
      for (const auto& [key, value] : a.named) put(items, key, value);
      return Value::make_namespace(std::move(items));
    }
    if (name == "dict") {
      Dict items;
      a.only(name, 0, {});
      return items;
    }
    if (name == "strftime_now") return time_now(to_text(a.get(0, "format"), budget_));
    fail_user("there is no function {} here", name);
  }

  Value range(const CallArguments& a) {
    a.only("range", 3);
    int64_t numbers[3] = {0, 0, 1};
    for (size_t i = 0; i < a.positional.size(); ++i)
      if (!a.positional[i].integer(numbers[a.positional.size() == 1 ? 1 : i]))
        fail_user("range() needs integers");
    const int64_t start = numbers[0], stop = numbers[1], step = numbers[2];
    if (a.positional.empty() || step == 0) fail_user("range() needs an end, and steps");
    List items;
    for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
      budget_.spend(Budget::kPerItem);
      items.emplace_back(i);
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    return items;
  }

  static std::string time_now(const std::string& format) {
    const std::time_t now = std::time(nullptr);
    std::tm parts = {};
    ::localtime_r(&now, &parts);
    char text[256];
    if (format.empty() || format.size() > 64) fail_user("strftime_now() needs a short format");
    return {text, std::strftime(text, sizeof(text), format.c_str(), &parts)};
  }

  Value unary(const Expr& e) {
    const Value value = evaluate(*e.items[0]);
    if (e.text == "not") return !value.truth();
    if (!value.is_number()) fail_user("{}{} is not possible", e.text, value.type_name());
    return apply_operator(e.text, int64_t{0}, value, budget_);
  }

  Value binary(const Expr& e) {
    Value left = evaluate(*e.items[0]);
    if (e.text == "and") return left.truth() ? evaluate(*e.items[1]) : left;
    if (e.text == "or") return left.truth() ? left : evaluate(*e.items[1]);
    const Value right = evaluate(*e.items[1]);
    line_ = e.line;
    if ((left.is_undefined() || right.is_undefined()) && e.text != "~")
      fail_user("{} is undefined", (left.is_undefined() ? left : right).get<Undefined>()->name);
    return apply_operator(e.text, left, right, budget_);
  }

  Value chain(const Expr& e) {
    Value left = evaluate(*e.items[0]);
    for (size_t i = 0; i < e.operators.size(); ++i) {
      Value right = evaluate(*e.items[i + 1]);
      line_ = e.line;
      if (!compare(e.operators[i], left, right, budget_)) return false;
      left = std::move(right);
    }
    return true;
  }

  Budget budget_;
  std::vector<Frame> frames_;
  std::vector<size_t> callers_;
  size_t frame_ = 0;
  std::string out_;
  int depth_ = 0;
  int line_ = 0;
};

}  // namespace

Template::Template(std::string_view text, std::string origin)
    : origin_(std::move(origin)), body_(parse(text, origin_)) {}

std::string Template::render(const Dict& variables, size_t most_work) const {
  Interpreter interpreter(variables, most_work);
  try {
    return interpreter.run(body_);
  } catch (const UserError& e) {
    fail_format("{}:{}: {}", origin_, interpreter.line(), e.what());
  }
}

}  // namespace isoflop::jinja
