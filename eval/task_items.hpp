// Questions of multiple choice and cloze tasks, in the wording of lm-evaluation-harness 0.4, from
// the data sets' own JSON lines.
#pragma once
#include "core/file.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

/// One text that a model may prefer: how likely `continuation` is after `context`.
struct Choice {
  std::string context;
  std::string continuation;  // its delimiter, a space, included
  std::string answer;        // whose length acc_norm divides by
};

struct TaskItem {
  std::vector<Choice> choices;  // one: a cloze, right when the model would write it itself
  int gold = 0;
};

struct Task {
  std::string name;
  std::string form;  // piqa, hellaswag, ...; see task_forms()
  std::vector<TaskItem> items;
  bool cloze() const { return !items.empty() && items.front().choices.size() == 1; }
};

std::vector<std::string> task_forms();

struct FewShot {
  fs::path file;  // of the same form; its first items stand before each question
  int shots = 0;
};

/// `word` is FILE or NAME=FILE. NAME is a form, or begins with one (arc_easy, blimp_island); a file
/// without a name, or with another, is recognized by its keys. PIQA's labels may lie in a file
/// STEM-labels.lst beside it. FormatError naming file, line and key.
Task read_task(const std::string& word, const FewShot& few_shot = {});

}  // namespace isoflop
