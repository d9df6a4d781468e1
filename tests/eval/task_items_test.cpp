// Each data set's lines become the texts that lm-evaluation-harness scores.
#include "eval/task_items.hpp"

#include "core/error.hpp"
#include "tests/support/folder_test.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

class TaskItems : public FolderTest {
 protected:
  /// The only item of a file with this line.
  TaskItem item(const std::string& line,
                const std::string& form,
                const std::string& name = "") const {
    const std::string file = write("one.jsonl", line + "\n");
    const Task task = read_task(name.empty() ? file : name + "=" + file);
    EXPECT_EQ(task.form, form);
    EXPECT_EQ(task.items.size(), 1u);
    return task.items.at(0);
  }
  static void expect(const TaskItem& item,
                     size_t choice,
                     const std::string& context,
                     const std::string& continuation) {
    EXPECT_EQ(item.choices.at(choice).context, context);
    EXPECT_EQ(item.choices.at(choice).continuation, continuation);
  }
  std::string refusal(const std::string& content) const {
    return message_of([&] { read_task(write("bad.jsonl", content)); });
  }
};

TEST_F(TaskItems, Piqa) {
  const TaskItem one = item(R"({"goal":"g","sol1":"first ","sol2":"second","label":1})", "piqa");
  EXPECT_EQ(one.gold, 1);
  expect(one, 0, "Question: g\nAnswer:", " first ");
  EXPECT_EQ(one.choices[0].answer, "first ") << "the delimiter is not part of the length";
}

TEST_F(TaskItems, PiqaWithItsLabelsBesideIt) {
  write("valid-labels.lst", "1\n0\n");
  const std::string lines = R"({"goal":"a","sol1":"b","sol2":"c"})"
                            "\n"
                            R"({"goal":"d","sol1":"e","sol2":"f"})"
                            "\n";
  const Task task = read_task("piqa=" + write("valid.jsonl", lines));
  EXPECT_EQ(task.name, "piqa");
  EXPECT_EQ(task.items[0].gold, 1);
  EXPECT_EQ(task.items[1].gold, 0);
  write("valid-labels.lst", "1\n");
  EXPECT_NE(message_of([&] { read_task(path("valid.jsonl").string()); }).find("line 2"),
            std::string::npos);
}

TEST_F(TaskItems, Hellaswag) {
  const TaskItem one =
      item(R"({"activity_label":"Baking","ctx_a":"A man [step] stirs.","ctx_b":"he LOOKS up",)"
           R"("endings":[" and  bakes [title] Cakes ","x"],"label":"1"})",
           "hellaswag");
  EXPECT_EQ(one.gold, 1);
  expect(one, 0, "Baking: A man stirs. He looks up", " and bakes. Cakes");
}

TEST_F(TaskItems, WinograndeScoresWhatFollowsTheBlank) {
  const TaskItem one = item(
      R"({"sentence":"Ann met Bea because _ was late.","option1":"Ann","option2":"Bea","answer":"2"})",
      "winogrande");
  EXPECT_EQ(one.gold, 1);
  expect(one, 0, "Ann met Bea because Ann", " was late.");
  expect(one, 1, "Ann met Bea because Bea", " was late.");
}

TEST_F(TaskItems, ArcAndOpenBookQaInBothForms) {
  const std::string own =
      R"({"question":{"stem":"Why?","choices":[{"text":"so","label":"A"},{"text":"no","label":"B"}]},"answerKey":"B"})";
  const TaskItem arc = item(own, "arc");
  EXPECT_EQ(arc.gold, 1);
  expect(arc, 1, "Question: Why?\nAnswer:", " no");
  expect(item(own, "openbookqa", "openbookqa"), 1, "Why?", " no");
  expect(
      item(
          R"({"question":"Why?","choices":{"text":["so","no"],"label":["1","2"]},"answerKey":"1"})",
          "arc", "arc_easy"),
      0, "Question: Why?\nAnswer:", " so");
  expect(
      item(
          R"({"question_stem":"Why?","choices":{"text":["so","no"],"label":["A","B"]},"answerKey":"A"})",
          "openbookqa"),
      0, "Why?", " so");
}

TEST_F(TaskItems, TheOthers) {
  const TaskItem boolq = item(R"({"passage":"P.","question":"is it","label":1})", "boolq");
  expect(boolq, 1, "P.\nQuestion: is it?\nAnswer:", " yes");
  EXPECT_EQ(boolq.gold, 1);
  expect(
      item(
          R"({"premise":"It rained. ","choice1":"Wet","choice2":"Dry","question":"effect","label":0})",
          "copa"),
      0, "It rained therefore", "  wet");
  expect(
      item(
          R"({"support":" S","question":"Q","distractor1":"a","distractor2":"b","distractor3":"c","correct_answer":"d"})",
          "sciq"),
      3, "S\nQuestion: Q\nAnswer:", " d");
  expect(item(R"({"sentence_good":"He is.","sentence_bad":"He are."})", "blimp"), 1, "",
         " He are.");
  const TaskItem lambada = item(R"({"text":"the last word"})", "lambada");
  EXPECT_EQ(lambada.choices.size(), 1u);
  expect(lambada, 0, "the last", " word");
  const TaskItem generic = item(R"({"query":"q","choices":["a","b"],"gold":0})", "generic");
  expect(generic, 1, "q", " b");
}

TEST_F(TaskItems, SolvedItemsStandBefore) {
  const std::string file = write("q.jsonl", R"({"query":"q","choices":["a","b"],"gold":0})");
  const std::string shots = write("s.jsonl", R"({"query":"one","choices":["x","y"],"gold":1})"
                                             "\n"
                                             R"({"query":"two","choices":["z","w"],"gold":0})");
  EXPECT_EQ(read_task(file, {shots, 2}).items[0].choices[0].context, "one y\n\ntwo z\n\nq");
  EXPECT_THROW(read_task(file, {shots, 3}), UserError);
}

TEST_F(TaskItems, SaysWhereALineIsWrong) {
  EXPECT_NE(
      refusal("{\"query\":1,\"choices\":[\"a\"],\"gold\":0}").find("line 1: query is no text"),
      std::string::npos);
  EXPECT_NE(refusal("\n{\"query\":\"q\",\"choices\":[\"a\"],\"gold\":3}").find("line 2"),
            std::string::npos);
  EXPECT_NE(refusal("[]").find("no task known"), std::string::npos);
  EXPECT_NE(refusal("{").find("not valid JSON"), std::string::npos);
  EXPECT_NE(refusal("\n\n").find("no items"), std::string::npos);
  EXPECT_NE(
      refusal("{\"sentence\":\"no blank\",\"option1\":\"a\",\"option2\":\"b\",\"answer\":\"1\"}")
          .find("has no _"),
      std::string::npos);
}

}  // namespace
}  // namespace isoflop
