#include "eval/task_items.hpp"

#include "core/json.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace isoflop {

namespace {

using Json = nlohmann::json;

constexpr size_t kMostChoices = 64;

/// A line of a file, and where it stands for messages.
struct Line {
  const Json& json;
  const std::string& place;

  bool has(const char* key) const { return json.is_object() && json.contains(key); }
  const Json& at(const char* key) const {
    if (!has(key)) fail_format("{}: {} is missing", place, key);
    return json[key];
  }
  std::string text(const Json& value, const char* key) const {
    if (!value.is_string()) fail_format("{}: {} is no text", place, key);
    return value.get<std::string>();
  }
  std::string text(const char* key) const { return text(at(key), key); }
  std::vector<std::string> texts(const Json& list, const char* key) const {
    if (!list.is_array()) fail_format("{}: {} is no list", place, key);
    std::vector<std::string> values;
    for (const Json& value : list) values.push_back(text(value, key));
    return values;
  }
  /// A number, also when it is written as text.
  int number(const char* key) const {
    const Json& value = at(key);
    if (value.is_number_integer())
      return static_cast<int>(std::clamp<int64_t>(value.get<int64_t>(), -1, 1 << 20));
    if (value.is_boolean()) return value.get<bool>();
    int parsed = -1;
    if (value.is_string()) {
      const auto& digits = value.get_ref<const std::string&>();
      std::from_chars(digits.data(), digits.data() + digits.size(), parsed);
    }
    return parsed;
  }
};

TaskItem item_of(const std::string& context, const std::vector<std::string>& answers, int gold) {
  TaskItem item;
  for (const std::string& answer : answers) item.choices.push_back({context, " " + answer, answer});
  item.gold = gold;
  return item;
}

std::string trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\r\v\f";
  const size_t first = text.find_first_not_of(kSpace);
  if (first == text.npos) return "";
  return std::string(text.substr(first, text.find_last_not_of(kSpace) - first + 1));
}

std::string replaced(std::string text, std::string_view what, std::string_view with) {
  for (size_t at = 0; (at = text.find(what, at)) != text.npos; at += with.size())
    text.replace(at, what.size(), with);
  return text;
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
char upper(char c) {
  return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
}

TaskItem generic(const Line& line) {
  return item_of(line.text("query"), line.texts(line.at("choices"), "choices"),
                 line.number("gold"));
}

TaskItem piqa(const Line& line) {
  return item_of("Question: " + line.text("goal") + "\nAnswer:",
                 {line.text("sol1"), line.text("sol2")}, line.number("label"));
}

/// WikiHow's marks: " [title]" ends a sentence, other brackets go, and doubled spaces, once over.
std::string without_brackets(const std::string& text) {
  const std::string marked = replaced(trimmed(text), " [title]", ". ");
  std::string plain;
  for (size_t at = 0; at < marked.size();) {
    const size_t close = marked[at] == '[' ? marked.find(']', at) : marked.npos;
    if (close != marked.npos && marked.find('\n', at) > close) {
      at = close + 1;
    } else {
      plain += marked[at++];
    }
  }
  return replaced(plain, "  ", " ");
}

TaskItem hellaswag(const Line& line) {
  std::string second = line.text("ctx_b");
  std::transform(second.begin(), second.end(), second.begin(), lower);
  if (!second.empty()) second[0] = upper(second[0]);
  std::vector<std::string> endings = line.texts(line.at("endings"), "endings");
  for (std::string& ending : endings) ending = without_brackets(ending);
  return item_of(
      without_brackets(line.text("activity_label") + ": " + line.text("ctx_a") + " " + second),
      endings, line.number("label"));
}

/// ARC and OpenBookQA: in the data sets' own files choices are objects within the question; on the
/// hub they are two lists beside it.
TaskItem lettered(const Line& line, const char* stem, bool worded) {
  std::string question;
  std::vector<std::string> answers, labels;
  const auto read_objects = [&](const Json& list) {
    if (!list.is_array()) fail_format("{}: choices is no list", line.place);
    for (const Json& choice : list) {
      const Line one{choice, line.place};
      answers.push_back(one.text("text"));
      labels.push_back(one.text("label"));
    }
  };
  if (line.has("question") && line.json["question"].is_object()) {
    const Line inner{line.json["question"], line.place};
    question = inner.text("stem");
    read_objects(inner.at("choices"));
  } else {
    question = line.text(stem);
    const Line choices{line.at("choices"), line.place};
    answers = choices.texts(choices.at("text"), "choices.text");
    labels = choices.texts(choices.at("label"), "choices.label");
  }
  const std::string key = trimmed(line.text("answerKey"));
  const auto gold = std::find(labels.begin(), labels.end(), key);
  if (gold == labels.end()) fail_format("{}: answerKey {} is none of the labels", line.place, key);
  return item_of(worded ? "Question: " + question + "\nAnswer:" : question, answers,
                 static_cast<int>(gold - labels.begin()));
}
TaskItem arc(const Line& line) {
  return lettered(line, "question", true);
}
TaskItem openbookqa(const Line& line) {
  return lettered(line, "question_stem", false);
}

/// Partial evaluation (Trinh & Le 2018): what follows the blank, after each way of filling it.
TaskItem winogrande(const Line& line) {
  const std::string sentence = line.text("sentence");
  const size_t blank = sentence.find('_');
  if (blank == sentence.npos) fail_format("{}: sentence has no _", line.place);
  const std::string rest = trimmed(std::string_view(sentence).substr(blank + 1));
  TaskItem item;
  for (const char* option : {"option1", "option2"})
    item.choices.push_back({sentence.substr(0, blank) + line.text(option), " " + rest, rest});
  item.gold = line.number("answer") - 1;
  return item;
}

TaskItem boolq(const Line& line) {
  return item_of(line.text("passage") + "\nQuestion: " + line.text("question") + "?\nAnswer:",
                 {"no", "yes"}, line.number(line.has("label") ? "label" : "answer"));
}

/// The choices begin with a space of their own: with the delimiter they have two.
TaskItem copa(const Line& line) {
  const std::string question = line.text("question");
  if (question != "cause" && question != "effect")
    fail_format("{}: question is neither cause nor effect", line.place);
  std::string premise = trimmed(line.text("premise"));
  if (!premise.empty()) premise.pop_back();
  std::vector<std::string> answers;
  for (const char* key : {"choice1", "choice2"}) {
    std::string choice = line.text(key);
    if (!choice.empty()) choice[0] = lower(choice[0]);
    answers.push_back(" " + choice);
  }
  return item_of(premise + (question == "cause" ? " because" : " therefore"), answers,
                 line.number("label"));
}

TaskItem sciq(const Line& line) {
  const std::string support = line.text("support");
  const size_t first = std::min(support.find_first_not_of(" \t\n\r\v\f"), support.size());
  return item_of(support.substr(first) + "\nQuestion: " + line.text("question") + "\nAnswer:",
                 {line.text("distractor1"), line.text("distractor2"), line.text("distractor3"),
                  line.text("correct_answer")},
                 3);
}

TaskItem blimp(const Line& line) {
  return item_of("", {line.text("sentence_good"), line.text("sentence_bad")}, 0);
}

TaskItem lambada(const Line& line) {
  const std::string text = line.text("text");
  const size_t space = text.rfind(' ');
  if (space == text.npos) fail_format("{}: text is a single word", line.place);
  return item_of(text.substr(0, space), {text.substr(space + 1)}, 0);
}

struct Form {
  std::string_view name;
  const char* keys[2];  // by which its lines are known
  TaskItem (*read)(const Line& line);
};

constexpr std::array kForms = {
    Form{"generic", {"query", "choices"}, generic},
    Form{"piqa", {"goal", "sol1"}, piqa},
    Form{"hellaswag", {"ctx_a", "endings"}, hellaswag},
    Form{"openbookqa", {"question_stem", "answerKey"}, openbookqa},
    Form{"arc", {"question", "answerKey"}, arc},
    Form{"winogrande", {"sentence", "option1"}, winogrande},
    Form{"boolq", {"passage", "question"}, boolq},
    Form{"copa", {"premise", "choice1"}, copa},
    Form{"sciq", {"support", "correct_answer"}, sciq},
    Form{"blimp", {"sentence_good", "sentence_bad"}, blimp},
    Form{"lambada", {"text", "text"}, lambada},
};

const Form& form_of(std::string_view name, const Line& first) {
  for (const Form& form : kForms)
    if (name.substr(0, form.name.size()) == form.name && first.has(form.keys[0]) &&
        (first.has(form.keys[1]) || form.name == "openbookqa"))
      return form;
  // OpenBookQA's own files look like ARC's, so only a name tells them apart.
  if (name.substr(0, 10) == "openbookqa" && first.has("answerKey")) return kForms[3];
  for (const Form& form : kForms)
    if (first.has(form.keys[0]) && first.has(form.keys[1])) return form;
  fail_format("{}: the keys are of no task known here ({})", first.place,
              fmt::join(task_forms(), ", "));
}

std::vector<std::string> lines_of(const fs::path& path) {
  const std::string content = read_file(path);
  std::vector<std::string> lines;
  for (size_t at = 0; at < content.size();) {
    const size_t end = std::min(content.find('\n', at), content.size());
    lines.push_back(content.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

Task read_items(const std::string& name, const fs::path& path) {
  Task task;
  task.name = name.empty() ? path.stem().string() : name;
  const fs::path label_file = path.parent_path() / (path.stem().string() + "-labels.lst");
  const std::vector<std::string> lines = lines_of(path);
  const std::vector<std::string> labels =
      fs::is_regular_file(label_file) ? lines_of(label_file) : std::vector<std::string>();
  const Form* form = nullptr;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (trimmed(lines[i]).empty()) continue;
    const std::string place = fmt::format("{}, line {}", path.string(), i + 1);
    Json json = parse_json<Json>(lines[i], place);
    const Line line{json, place};
    if (!form) form = &form_of(task.name, line);
    if (!labels.empty() && json.is_object() && !json.contains("label")) {
      if (i >= labels.size()) fail_format("{}: {} ends before it", place, label_file.string());
      json["label"] = trimmed(labels[i]);
    }
    TaskItem item = form->read(line);
    if (item.choices.empty() || item.choices.size() > kMostChoices)
      fail_format("{}: {} choices, not within 1 to {}", place, item.choices.size(), kMostChoices);
    if (item.gold < 0 || item.gold >= static_cast<int>(item.choices.size()))
      fail_format("{}: the right answer is none of the {} choices", place, item.choices.size());
    task.items.push_back(std::move(item));
  }
  if (task.items.empty()) fail_format("{}: there are no items in it", path.string());
  for (const TaskItem& item : task.items)
    if ((item.choices.size() == 1) != task.cloze())
      fail_format("{}: some items have one choice, others several", path.string());
  task.form = form->name;
  return task;
}

}  // namespace

std::vector<std::string> task_forms() {
  std::vector<std::string> names;
  for (const Form& form : kForms) names.emplace_back(form.name);
  return names;
}

Task read_task(const std::string& word, const FewShot& few_shot) {
  const size_t equals = word.find('=');
  const bool named = equals != word.npos && word.find('/') > equals && !fs::exists(word);
  Task task =
      read_items(named ? word.substr(0, equals) : "", named ? word.substr(equals + 1) : word);
  if (few_shot.shots <= 0) return task;
  const Task examples = read_items(task.name, few_shot.file);
  if (static_cast<int>(examples.items.size()) < few_shot.shots)
    fail_user("{} has {} items, not {}", few_shot.file.string(), examples.items.size(),
              few_shot.shots);
  std::string before;
  for (int i = 0; i < few_shot.shots; ++i) {
    const TaskItem& item = examples.items[static_cast<size_t>(i)];
    const Choice& right = item.choices[static_cast<size_t>(item.gold)];
    before += right.context + right.continuation + "\n\n";
  }
  for (TaskItem& item : task.items)
    for (Choice& choice : item.choices) choice.context = before + choice.context;
  return task;
}

}  // namespace isoflop
