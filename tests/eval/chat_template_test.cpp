// Templates as Python's jinja2 renders them (jinja_cases.json, made by
// bench/peers/jinja_templates.py), what is refused and how, and the built-in ones.
#include "eval/chat_template.hpp"

#include "core/file.hpp"
#include "core/json.hpp"
#include "tests/support/folder_test.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

using Json = nlohmann::ordered_json;

jinja::Dict variables_of(const Json& json) {
  jinja::Dict variables;
  for (const auto& [key, value] : json.items())
    variables.emplace_back(key, jinja::Value::from_json(value));
  return variables;
}

std::string render(const std::string& text, const Json& variables = Json::object()) {
  return jinja::Template(text, "t").render(variables_of(variables));
}

TEST(ChatTemplates, RenderAsJinja2) {
  const fs::path file = fs::path(ISOFLOP_SOURCE_DIR) / "tests/eval/jinja_cases.json";
  const Json all = parse_json<Json>(read_file(file), file.string());
  ASSERT_GT(all["cases"].size(), 150u);
  for (const Json& one : all["cases"]) {
    const std::string text = one["template"];
    try {
      EXPECT_EQ(render(text, all["variables"]), one["text"].get<std::string>()) << text;
    } catch (const Error& e) {
      ADD_FAILURE() << text << "\n" << e.what();
    }
  }
}

TEST(ChatTemplates, RefuseWhatTheyDoNotKnowByLineAndName) {
  const std::pair<const char*, const char*> cases[] = {
      {"\n{% include 'x' %}", "t:2: {% include %} is not supported"},
      {"{% if a %}\n\n", "is not closed by endif"},
      {"\n\n{{ a | nosuch }}", "t:3: there is no filter nosuch"},
      {"{{ a is nosuch }}", "there is no test nosuch"},
      {"{{ nosuch() }}", "there is no function nosuch"},
      {"{{ 'a'.nosuch() }}", "strings have no method nosuch()"},
      {"{{ [].append(1) }}", "cannot be changed by append()"},
      {"{{ a + 1 }}", "a is undefined"},
      {"{{ a.b.c }}", "t:1: a is undefined"},
      {"{{ 1 + 'a' }}", "integer + string is not possible"},
      {"{{ 'x", "is not closed"},
      {"{{ (1 }}", "}"},
      {"{{ 1 ! 2 }}", "is no part of an expression"},
      {"{% break %}", "outside a loop"},
      {"{{ 1 // 0 }}", "division by zero"},
      {"{{ 9223372036854775807 + 1 }}", "beyond 64 bits"},
      {"{{ raise_exception('no ' + 'tools') }}", "the template refuses: no tools"},
      {"{% set ns = namespace() %}{% set ns.a = [ns] %}", "a namespace cannot be put"},
      {"{% set ns = namespace() %}{% set ns.a = ns %}", "a namespace cannot be put"},
      {"{% for x in [] recursive %}{% endfor %}", "recursive loops are not supported"},
      {"{{ '%s' % 'a' }}", "formatting a string by % is not supported"},
      {"{{ f(*a) }}", "unpacked by *"},
  };
  for (const auto& [text, message] : cases) {
    const std::string& source = text;  // clang 14 captures no structured binding
    const std::string found = message_of([&] { render(source); });
    EXPECT_NE(found.find(message), found.npos) << text << ": " << found;
    EXPECT_EQ(found.rfind("t:", 0), 0u) << found;
  }
}

TEST(ChatTemplates, NeverRunAway) {
  const std::string many(2000, '(');
  std::string chain = "1";
  for (int i = 0; i < 5000; ++i) chain += "+1";
  const std::string hostile[] = {
      "{% for a in range(1000000000) %}{% endfor %}",
      "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}",
      "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}"
      "{% endfor %}",
      "{% set ns = namespace(l=[]) %}{% for i in range(9999) %}{% set ns.l = [ns.l] %}{% endfor %}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}"
      "{% endfor %}{{ ns.l }}",
      "{% set ns = namespace(l=[1]) %}{% for i in range(60) %}{% set ns.l = [ns.l, ns.l] %}"
      "{% endfor %}{{ ns.l == ns.l }}",
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{{ 'x' * 1000000000 }}",
      "{{ [1] * 9223372036854775807 }}",
      "{{ 'x'.replace('', 'y' * 1000000).replace('', 'z' * 1000000) }}",
      "{{ ('a' * 1000000) | replace('a', 'b' * 1000) }}",
      "{{ [1] | tojson(indent=1000000) }}",
      "{{ " + many,
      "{{ " + chain + " }}",
      "{{ a" + std::string(2000, '.') + " }}",
      "{{ not " + std::string(4000, '-') + "1 }}",
  };
  EXPECT_THROW(render(hostile[0]), FormatError);
  for (const std::string& text : hostile)  // with less work than real ones may do, to be quick
    EXPECT_THROW(jinja::Template(text, "t").render({}, 1 << 20), FormatError) << text.substr(0, 80);
  EXPECT_THROW(render(std::string(2 << 20, 'x')), FormatError);
}

TEST(ChatTemplates, BuiltInOnesAreWhatModelsWereTunedOn) {
  const Json messages = {{{"role", "system"}, {"content", "S"}},
                         {{"role", "user"}, {"content", "Q"}},
                         {{"role", "assistant"}, {"content", "A"}},
                         {{"role", "user"}, {"content", "R"}}};
  ChatFormat format;
  format.bos = "<s>";
  format.eos = "</s>";
  const std::pair<const char*, const char*> expected[] = {
      {"chatml",
       "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nA"
       "<|im_end|>\n<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n"},
      {"llama2", "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nQ [/INST] A </s><s>[INST] R [/INST]"},
      {"llama3",
       "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user"
       "<|end_header_id|>\n\nQ<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nA"
       "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nR<|eot_id|><|start_header_id|>"
       "assistant<|end_header_id|>\n\n"},
      {"gemma",
       "<s><start_of_turn>user\nS\n\nQ<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
       "<start_of_turn>user\nR<end_of_turn>\n<start_of_turn>model\n"},
      {"vicuna", "S\n\nUSER: Q ASSISTANT: A</s>USER: R ASSISTANT:"},
      {"zephyr",
       "<|system|>\nS</s>\n<|user|>\nQ</s>\n<|assistant|>\nA</s>\n<|user|>\nR</s>\n"
       "<|assistant|>\n"},
  };
  for (const auto& [name, text] : expected)
    EXPECT_EQ(ChatTemplate(find_chat_template(name), name).render(messages, format), text) << name;
  EXPECT_EQ(answer_end_of(find_chat_template("chatml")), "<|im_end|>");
  EXPECT_EQ(answer_end_of("{{ 1 }}"), "");
}

using ChatTemplateFiles = FolderTest;

TEST_F(ChatTemplateFiles, AreTakenFromJinjaAndJsonFiles) {
  EXPECT_EQ(find_chat_template(write("a.jinja", "{{ 'a' }}\n")), "{{ 'a' }}\n");
  EXPECT_EQ(find_chat_template(write("c.json", R"({"chat_template": "{{ 1 }}"})")), "{{ 1 }}");
  EXPECT_EQ(find_chat_template(write("d.json", R"({"chat_template": [{"name": "x", "template": "x"},
                                                {"name": "default", "template": "d"}]})")),
            "d");
  EXPECT_NE(message_of([&] { find_chat_template(write("e.json", "{}")); }).find("no chat_template"),
            std::string::npos);
  EXPECT_NE(message_of([] { find_chat_template("nosuch"); }).find("chatml, "), std::string::npos);
  EXPECT_THROW(find_chat_template(write("f.jinja", "{% nosuch %}")), FormatError);
}

}  // namespace
}  // namespace isoflop
