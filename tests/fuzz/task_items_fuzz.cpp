// Questions of evaluation tasks.
#include "eval/task_items.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/input_file.hpp"

namespace isoflop::fuzz {
namespace {

std::vector<std::string> seeds() {
  return {
      R"({"goal":"g","sol1":"first ","sol2":"second","label":1})"
      "\n"
      R"({"goal":"h","sol1":"a","sol2":"b","label":0})"
      "\n",
      R"({"query":"q","choices":["one","two","three"],"gold":2})"
      "\n\n"
      R"({"query":"\u00e9","choices":["x","y"],"gold":0})",
      R"({"ctx_a":"A man","ctx_b":"runs","activity_label":"Running","endings":["a","b","c","d"],"label":"3"})"
      "\n",
      R"({"text":"in the end she said nothing"})"
      "\n",
      R"({"sentence":"The _ was red.","option1":"car","option2":"sky","answer":"1"})"
      "\n"};
}

void run(std::string_view bytes) {
  const Task task = read_task(input_file("fuzz.jsonl", bytes));
  if (task.items.empty()) found("a task without items");
  for (const TaskItem& item : task.items)
    if (item.choices.empty() || item.gold < 0 || item.gold >= static_cast<int>(item.choices.size()))
      found("an item whose answer is none of its choices");
}

const Registered target({"task_items", seeds, run, {"eval/task_items.cpp"}});

}  // namespace
}  // namespace isoflop::fuzz
