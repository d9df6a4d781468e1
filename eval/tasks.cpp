#include "eval/tasks.hpp"

#include "core/utf8.hpp"
#include "datasets/tokenizer/char_class.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace isoflop {

namespace {

/// Where the white space at the end begins.
size_t trailing_space(std::string_view text) {
  size_t end = text.size();
  while (end > 0) {
    size_t at = end - 1;
    while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
    const CodePoint c = first_code_point(text.substr(at, end - at));
    const bool separator = c.value >= 0x1c && c.value <= 0x1f;  // white space to Python as well
    if (c.bytes != static_cast<int>(end - at) ||
        !(separator || class_of(c.value) == CharClass::space))
      break;
    end = at;
  }
  return end;
}

double characters(std::string_view text) {
  return static_cast<double>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

struct RowScore {
  double nats;
  bool greedy;
};

RowScore score_row(View logits, int64_t row, int32_t target) {
  const float* x = logits.row<float>(row);
  int64_t top = 0;
  for (int64_t v = 1; v < logits.cols; ++v)
    if (x[v] > x[top]) top = v;
  double sum = 0;
  for (int64_t v = 0; v < logits.cols; ++v) sum += std::exp(double{x[v]} - double{x[top]});
  return {double{x[target]} - double{x[top]} - std::log(sum), top == target};
}

Measure mean_of(const std::vector<double>& values) {
  const double n = static_cast<double>(values.size());
  Measure measure;
  if (values.empty()) return measure;
  measure.value = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double v : values) squares += (v - measure.value) * (v - measure.value);
  if (values.size() > 1) measure.stderr_ = std::sqrt(squares / (n - 1) / n);
  return measure;
}

template <class Length>
int best_choice(const TaskItem& item, const std::vector<TextLikelihood>& scores, Length length) {
  const auto value = [&](size_t i) {
    return scores[i].nats / std::max(1.0, length(item.choices[i].answer));
  };
  size_t best = 0;
  for (size_t i = 1; i < scores.size(); ++i)
    if (value(i) > value(best)) best = i;
  return static_cast<int>(best);
}

}  // namespace

ScoredTokens scored_tokens(const Tokenizer& tokenizer,
                           std::string_view context,
                           std::string_view continuation,
                           int64_t most_context,
                           bool bos) {
  const int separator = tokenizer.separator();
  ScoredTokens text;
  if ((bos || context.empty()) && separator >= 0) text.ids.push_back(separator);
  const size_t start = text.ids.size();
  if (context.empty()) {
    tokenizer.encode(continuation, text.ids);
    text.scored =
        static_cast<int64_t>(text.ids.size()) - static_cast<int64_t>(std::max<size_t>(start, 1));
  } else {
    const size_t end = trailing_space(context);
    std::vector<int32_t> alone;
    tokenizer.encode(context.substr(0, end), alone);
    tokenizer.encode(std::string(context) + std::string(continuation), text.ids);
    text.scored =
        static_cast<int64_t>(text.ids.size() - start) - static_cast<int64_t>(alone.size());
  }
  text.scored = std::clamp<int64_t>(
      text.scored, 0, std::max<int64_t>(0, static_cast<int64_t>(text.ids.size()) - 1));
  const int64_t beyond = static_cast<int64_t>(text.ids.size()) - (most_context + 1);
  if (beyond > 0) text.ids.erase(text.ids.begin(), text.ids.begin() + beyond);
  text.scored = std::min(text.scored, most_context);
  return text;
}

std::vector<TextLikelihood> score_texts(LanguageModel& model,
                                        const std::vector<ScoredTokens>& texts,
                                        ThreadTeam& team) {
  std::vector<TextLikelihood> results(texts.size());
  std::vector<size_t> order(texts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  // By length, so that little is padded; stable, so that results do not depend on the sort.
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return texts[a].ids.size() < texts[b].ids.size(); });
  std::erase_if(order, [&](size_t i) { return texts[i].scored == 0; });
  const auto inputs = [&](size_t i) { return static_cast<int64_t>(texts[i].ids.size()) - 1; };
  std::vector<int32_t> tokens;
  std::vector<RowScore> rows(static_cast<size_t>(kHeadTokens));
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() &&
           inputs(order[end]) * static_cast<int64_t>(end + 1 - begin) <= model.model().max_tokens())
      ++end;
    const int64_t length = inputs(order[end - 1]), sequences = static_cast<int64_t>(end - begin);
    tokens.assign(static_cast<size_t>(sequences * length), 0);
    for (size_t s = begin; s < end; ++s)
      std::copy_n(texts[order[s]].ids.begin(), inputs(order[s]),
                  tokens.begin() + static_cast<std::ptrdiff_t>(s - begin) * length);
    model.model().read({sequences, length, tokens, {}});
    for (size_t s = begin; s < end; ++s) {
      const ScoredTokens& text = texts[order[s]];
      TextLikelihood& result = results[order[s]];
      result = {0, true, text.scored};
      const int64_t last = inputs(order[s]), first = last - text.scored;
      for (int64_t at = first; at < last; at += kHeadTokens) {
        const int64_t count = std::min(kHeadTokens, last - at);
        const View logits =
            model.model().logits(static_cast<int64_t>(s - begin) * length + at, count);
        team.run(count, [&](int64_t r, int) {
          rows[static_cast<size_t>(r)] =
              score_row(logits, r, text.ids[static_cast<size_t>(at + r + 1)]);
        });
        for (int64_t r = 0; r < count; ++r) {
          result.nats += rows[static_cast<size_t>(r)].nats;
          result.greedy = result.greedy && rows[static_cast<size_t>(r)].greedy;
        }
      }
    }
    begin = end;
  }
  return results;
}

TaskResult score_task(LanguageModel& model, const Task& task, bool bos, ThreadTeam& team) {
  std::vector<ScoredTokens> texts;
  for (const TaskItem& item : task.items)
    for (const Choice& choice : item.choices)
      texts.push_back(scored_tokens(model.tokenizer(), choice.context, choice.continuation,
                                    model.config().context, bos));
  for (const ScoredTokens& text : texts)
    for (const int32_t id : text.ids)
      if (id >= model.config().vocabulary)
        fail_user("the tokenizer gives id {}, but the model has {} embeddings", id,
                  model.config().vocabulary);
  const std::vector<TextLikelihood> scores = score_texts(model, texts, team);
  TaskResult result;
  std::vector<double> acc, acc_norm, acc_bytes, nats;
  size_t next = 0;
  for (const TaskItem& item : task.items) {
    ItemResult one;
    for (size_t i = 0; i < item.choices.size(); ++i) one.choices.push_back(scores[next++]);
    one.by_sum = best_choice(item, one.choices, [](std::string_view) { return 1.0; });
    one.by_characters = best_choice(item, one.choices, characters);
    one.by_bytes = best_choice(item, one.choices, [](std::string_view answer) {
      return static_cast<double>(answer.size());
    });
    acc.push_back(task.cloze() ? one.choices[0].greedy : one.by_sum == item.gold);
    acc_norm.push_back(one.by_characters == item.gold);
    acc_bytes.push_back(one.by_bytes == item.gold);
    nats.push_back(one.choices[0].nats);
    result.items.push_back(std::move(one));
  }
  result.acc = mean_of(acc);
  result.acc_norm = mean_of(acc_norm);
  result.acc_bytes = mean_of(acc_bytes);
  // exp is steep: the error of its argument times the value.
  const Measure log_likelihood = mean_of(nats);
  result.perplexity.value = std::exp(-log_likelihood.value);
  result.perplexity.stderr_ = result.perplexity.value * log_likelihood.stderr_;
  return result;
}

}  // namespace isoflop
