// Chat templates, which come with a model's file: read, and rendered with a conversation.
#include "eval/chat_template.hpp"
#include "tests/fuzz/fuzz.hpp"

#include <nlohmann/json.hpp>

namespace isoflop::fuzz {
namespace {

using Json = nlohmann::ordered_json;

std::vector<std::string> seeds() {
  return {
      "{%- for m in messages %}\n  {%- if m['role'] == 'user' and loop.index0 % 2 == 0 %}\n"
      "{{- '<u>' + m.content | trim + '</u>' }}\n  {%- elif m.role != 'x' %}{{ m | "
      "tojson(indent=2) "
      "}}{% else %}{{ raise_exception('r') }}{% endif %}{% endfor %}\n{{ bos_token }}",
      "{% set ns = namespace(a=1, l=[]) %}{% macro f(x, y='z') %}{{ x ~ y }}{% endmacro %}"
      "{% for k, v in {'a': [1, 2.5], 'b': none}.items() if v %}{{ f(k, y=v[::-1]) }}{% set ns.a = "
      "ns.a * 2 %}{% break %}{% endfor %}{{ ns.a // 3 ** 2 }}{# c #}{% raw %}{{{% endraw %}",
      "{{ 'a,b'.split(',')[-1].upper().replace('B', 'c\\u00e9') | default('x', true) | indent(2) }}"
      "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | join(', ') "
      "}}{{ 'x' * 3 if 'u' in messages[0].role and 1 < 2 <= 3 is odd else -1 | abs }}"
      "{% set t %}t{% endset %}{% generation %}{{ t[:1] }}{% endgeneration %}",
  };
}

std::vector<std::string> refused() {
  return {"{% include 'x' %}", "{{ x.y.z }}", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
          "{% for i in range(1000000000) %}{% endfor %}", "{{ ['a'] | sum }}"};
}

void run(std::string_view bytes) {
  const Json messages = {{{"role", "user"}, {"content", " h\u00e9llo "}},
                         {{"role", "assistant"}, {"content", nullptr}}};
  ChatFormat format;
  format.bos = "<s>";
  ChatTemplate(bytes, "fuzz").render(messages, format);
}

const Registered target(
    {"chat_template",
     seeds,
     run,
     {"eval/jinja/lexer.cpp", "eval/jinja/parser.cpp", "eval/jinja/expressions.cpp",
      "eval/jinja/cursor.hpp", "eval/jinja/template.cpp", "eval/jinja/filters.cpp",
      "eval/jinja/methods.cpp", "eval/jinja/operators.cpp", "eval/jinja/text.cpp"},
     refused});

}  // namespace
}  // namespace isoflop::fuzz
