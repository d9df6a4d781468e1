#!/usr/bin/env python3
"""Chat templates rendered by Python's jinja2, set up as transformers does: the judge of eval/jinja.

    jinja_templates.py           compare tests/eval/jinja_cases.json with what jinja2 makes of it now
    jinja_templates.py --write   write that file anew from the cases below

Needs: pip install jinja2. The test ChatTemplates.RenderAsJinja2 holds our own renderer to the file.
"""
import json
import os
import sys

import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

FILE = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "eval", "jinja_cases.json")

CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "  Hi \u00e9\u20ac! "},
        {"role": "assistant", "content": "Hello.<think>no</think>", "tool_calls": [
            {"function": {"name": "f", "arguments": {"x": 1, "y": [1.5, None, True], "z": "a\"\n"}}}]},
        {"role": "user", "content": "Bye"},
    ],
    "bos_token": "<s>", "eos_token": "</s>", "add_generation_prompt": True,
    "tools": [{"type": "function", "function": {"name": "f", "description": "d<b>&'", "parameters": {
        "type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}}}],
    "n": 7, "s": "Hello World", "l": [3, 1, 2, 3], "d": {"b": 1, "a": "x"}, "f": 2.5,
}

# Whole templates, in the manner of those that models carry.
TEMPLATES = [
    # one turn after another, marked by role; white space by blocks on lines of their own
    """{%- for message in messages %}
    {%- if message['role'] == 'user' %}
        {{- '[U]' + message['content'] | trim + '[/U]' }}
    {%- elif message['role'] == 'assistant' %}
        {{- message.content.split('</think>')[-1].lstrip('\\n') + eos_token }}
    {%- else %}
        {{- '[S]' ~ message.content ~ '[/S]' }}
    {%- endif %}
{%- endfor %}
{% if add_generation_prompt %}
{{ '[A]' }}
{% endif %}
""",
    # a system message of its own, and the rest by slice
    """{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set rest = messages[1:] %}{% else %}{% set rest = messages %}{% endif %}
{{ bos_token }}{% for m in rest %}{% if loop.index0 == 0 and system is defined %}{{ '<<' + system + '>>' }}{% endif %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('order') }}{% endif %}{{ m.role | upper }}: {{ m.content | trim }}{% if not loop.last %} | {% endif %}{% endfor %}""",
    # tools as JSON, calls of tools, a namespace that remembers
    """{%- set ns = namespace(last=-1, seen=false) %}
{%- for m in messages[::-1] %}
    {%- set i = (messages | length - 1) - loop.index0 %}
    {%- if m.role == "user" and not ns.seen %}{% set ns.seen = true %}{% set ns.last = i %}{% endif %}
{%- endfor %}
last user: {{ ns.last }}
{% if tools %}
<tools>
{% for tool in tools %}
{{ tool | tojson }}
{{ tool | tojson(indent=2) }}
{% endfor %}
</tools>
{% endif %}
{%- for m in messages if m.tool_calls is defined and m.tool_calls is not none %}
{%- for call in m.tool_calls %}
{{ loop.index }}/{{ loop.length }} {{ call.function.name }}({% for k, v in call.function.arguments | items %}{{ k }}={{ v | tojson }}{{ ", " if not loop.last }}{% endfor %})
{%- endfor %}
{%- endfor %}""",
    # macros, recursion, default arguments, comments
    """{#- types #}{%- macro type_of(spec, level=0) -%}
{%- if spec.type == "object" -%}{ {%- for k, v in spec.properties | dictsort %}{{ k }}: {{ type_of(v, level + 1) }}{% if not loop.last %}, {% endif %}{% endfor -%} }{{ level }}
{%- else -%}{{ spec.type | default("any") }}@{{ level }}{%- endif -%}
{%- endmacro -%}
{# a comment on a line #}
{{ type_of(tools[0].function.parameters) }}
{{ type_of({"kind": 1}, level=3) }}
""",
    # content as text or as parts
    """{% macro content_of(c) %}{% if c is string %}{{ c }}{% elif c is iterable %}{% for p in c %}{% if p.type == 'text' %}{{ p.text }}{% elif p.type in ['image', 'image_url'] %}<image>{% endif %}{% endfor %}{% endif %}{% endmacro %}
{% for m in [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}] + messages %}
{{ m['role'] }}: {{ content_of(m['content']) }}
{% endfor %}""",
    # generation marks, break and continue, else of a loop
    """{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}{% generation %}{{ m.role[0] }}{% endgeneration %}{% if loop.index > 2 %}{% break %}{% endif %}{% else %}none{% endfor %}{% for x in [] %}{{ x }}{% else %} empty{% endfor %}""",
    # selections
    """{% set sys = messages | selectattr('role', 'equalto', 'system') | list %}{% set others = messages | rejectattr('role', 'equalto', 'system') | list %}
{{ sys | length }} {{ others | map(attribute='role') | join(',') }} {{ messages | map(attribute='content') | map('trim') | map('length') | list }} {{ l | reject('equalto', 3) | list }} {{ l | select('odd') | list | tojson }}""",
    "{% set text %}\n  {{ s }}!\n{% endset %}[{{ text }}]{% raw %}{{ raw }}{% endraw %}",
]

# One construct each.
SNIPPETS = """
(1 + 2 * 3 - 4 / 2) ~ 'x' | n // 2, n % 4, -n // 2, -n % 4, 2 ** 3 ** 2 | 7.0 // 2, 1e3, 1_000, 0.1 + 0.2, 1e22, 1.5e-7
not true or false and true | 1 < 2 < 3, 1 < 3 < 2, 'a' in 'cat', 'x' not in s, 2 in l, 'a' in d | n if n > 9 else 'small' | (n if n > 9) | 'a' 'b' "c"
s[0], s[-1], s[1:4], s[::-1], s[:-6], s[20], l[1:], l[::2], l[-2:], l[5:1:-1] | d.a, d['b'], d.missing, d.missing is defined | messages[1].content[3]
s.upper(), s.lower(), s.title(), 'aB c'.capitalize(), ' x '.strip(), 'xxaxx'.strip('x'), 'xxa'.lstrip('x'), 'axx'.rstrip('x') | 'a,b,c'.split(','), 'a b  c '.split(), 'a,b,c'.split(',', 1), 'a,b,c'.rsplit(',', 1)
s.startswith('He'), s.endswith('x'), s.replace('l', 'L'), s.replace('l', 'L', 1), s.find('W'), s.find('q'), s.count('l') | 'a\\nb\\r\\nc'.splitlines(), '-'.join(['a', 'b']), 'abc'.removeprefix('a'), 'abc'.removesuffix('c')
s | upper, s | lower, 'a b' | title, s | length, l | length, d | length, s | first, l | last, l | sort, l | unique | list, l | reverse | list, s | reverse | list | join
l | join('-'), l | join, x | default('dflt'), '' | default('e', true), none | default('n'), '5' | int + 1, 'q' | int, '2.5' | float, f | int, -3 | abs, n | string + '!'
d | tojson, l | tojson, s | tojson, none | tojson, true | tojson, f | tojson, [] | tojson(indent=4), {'a': []} | tojson(indent=1), d | tojson(separators=(',', ':')), d | tojson(sort_keys=true)
d, l, [none, true, 1.0, 'it\\'s', "q\\"'", 'a\\n'], {'k': [1, 2]}, none, true, 1.0, 1e16, 123456789.125, '' is none
d | items | list | tojson, d.items() | list | tojson, d.keys() | list, d.values() | list, d.get('a'), d.get('z', 3), d.get('z'), d | dictsort | tojson, d | dictsort(reverse=true) | tojson, d | list
n is odd, n is even, n is number, s is string, l is sequence, d is mapping, none is none, n is divisibleby 7, x is undefined, s is not string, f is float, n is integer, true is boolean, n is eq 7, n is in l, 3 is in l
'a\\tb\\u00e9\\x41\\\\', 'tab\tliteral' | 'line1\\nline2\\n\\nline4' | indent(2), 'a\\nb' | indent(2, true), 'a' * 3, [0] * 2, l + [9], range(3) | list, range(1, 7, 2) | list, range(3, 0, -1) | list
'\u00c9T\u00c9' | lower, '\u00e9t\u00e9' | upper, '\u00e9t\u00e9' | length, '\u20ac\u00e9a'[1:], '\u00a0x\u2003' | trim | length, '\u00e9' in '\u00e9t\u00e9', '\u00e9' | tojson
(1, 2)[0], [1, [2, 3]][1][0], {'a': {'b': 5}}.a.b, dict(), namespace(a=1).a, ('x') | upper, (-1) | abs, -1 | abs, 10 - 2 - 3, 2 * -3, 'a' ~ 1 ~ none, l == [3, 1, 2, 3], d == {'a': 'x', 'b': 1}, 1 == 1.0, 1 == true
"""

WHITESPACE = [
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n",
    "a\n  {%+ if true %}b{% endif +%}\nc\n\n",
    "a \n {%- if true -%} \n b \n {%- endif -%} \n c",
    "  {{ n }}  \n\n{{- n -}}\n {# x #}\n y {#- z -#} \n w",
    "{% set a = 1 %}\n{% set b = 2 %}\n\n{{ a }}{{ b }}\n",
    "x\r\n{% if true %}\r\ny\r\n{% endif %}\r\nz",
    "  {% for i in range(2) %}\n  {{ i }}\n  {% endfor %}\n  {# c #}\n  end",
    "{% set x = 0 %}{% for i in [1, 2] %}{{ x }}{% set x = x + i %}{{ x }}{% endfor %}{{ x }}",
    "{% if true %}{% set y = 5 %}{% endif %}{{ y }}{% for a, b in [[1, 2], [3, 4]] %}{{ a }}{{ b }}{{ loop.first }}{{ loop.revindex }}{{ loop.previtem }}{% endfor %}",
]


class Generation(jinja2.ext.Extension):
    """transformers' {% generation %}, which changes nothing in the text."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.Scope(body).set_lineno(line)


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    return env


def cases():
    templates = list(TEMPLATES) + list(WHITESPACE)
    for line in SNIPPETS.strip("\n").split("\n"):
        for group in split_top(line, " | "):
            for snippet in split_top(group, ", "):
                templates.append("{{ %s }}" % snippet)
    return templates


def split_top(text, mark):
    """Parts between `mark`s outside brackets and strings; a filter's " | " joins what is no snippet."""
    parts, depth, quote, start, i = [], 0, None, 0, 0
    while i < len(text):
        c = text[i]
        if quote:
            if c == "\\":
                i += 1
            elif c == quote:
                quote = None
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif depth == 0 and text.startswith(mark, i) and (mark == ", " or not is_filter(text[i + 3:])):
            parts.append(text[start:i])
            start = i + len(mark)
            i = start
            continue
        i += 1
    return parts + [text[start:]]


def is_filter(rest):
    name = rest.split("(")[0].split(" ")[0].split(",")[0]
    return name in jinja2.Environment().filters


def main():
    env = environment()
    made = {"variables": CHAT, "cases": []}
    for text in cases():
        try:
            made["cases"].append({"template": text, "text": env.from_string(text).render(**CHAT)})
        except Exception as error:
            sys.exit("%s\n%r" % (text, error))
    content = json.dumps(made, ensure_ascii=True, indent=1) + "\n"
    if "--write" in sys.argv:
        open(FILE, "w").write(content)
        print(len(made["cases"]), "cases, jinja2", jinja2.__version__)
    elif open(FILE).read() != content:
        sys.exit("tests/eval/jinja_cases.json is not what jinja2 %s makes" % jinja2.__version__)
    else:
        print(len(made["cases"]), "cases as jinja2", jinja2.__version__, "has them")


if __name__ == "__main__":
    main()
