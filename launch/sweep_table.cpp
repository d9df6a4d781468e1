#include "launch/sweep_table.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <tuple>

namespace isoflop {

namespace {

constexpr const char* kColumns[] = {"parameters", "tokens", "flops",     "loss",
                                    "train_loss", "status", "last_step", "parametrization",
                                    "width",      "layers", "steps",     "seed"};
constexpr size_t kFixed = std::size(kColumns);

double number_of(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size();
  return whole ? value : std::numeric_limits<double>::quiet_NaN();
}

auto order_of(const SweepRow& row) {
  std::vector<double> numbers;
  for (const std::string& value : row.values) numbers.push_back(number_of(value));
  return std::make_tuple(row.parametrization, row.width, row.layers, row.steps, numbers, row.seed);
}

std::vector<std::string_view> cells_of(std::string_view line) {
  std::vector<std::string_view> cells;
  for (size_t at = 0; at <= line.size();) {
    const size_t comma = std::min(line.find(',', at), line.size());
    cells.push_back(line.substr(at, comma - at));
    at = comma + 1;
  }
  return cells;
}

/// One line under the header.
class RowReader {
 public:
  RowReader(std::vector<std::string_view> cells, std::string place)
      : cells_(std::move(cells)), place_(std::move(place)) {}

  /// Column number `column`, at least `lowest`; NaN is read where `or_nan`.
  double real(size_t column, double lowest, bool or_nan = false) const {
    if (or_nan && cells_[column] == "nan") return std::numeric_limits<double>::quiet_NaN();
    const double value = number_of(cells_[column]);
    if (!(value >= lowest) || !std::isfinite(value))
      fail_user("{}: {} is \"{}\"; it must be a number from {} on", place_, kColumns[column],
                cells_[column].substr(0, 40), lowest);
    return value;
  }
  int64_t integer(size_t column, double lowest) const {
    const double value = real(column, lowest);
    if (value != std::floor(value) || value > 9e15)
      fail_user("{}: {} is \"{}\"; it must be a whole number", place_, kColumns[column],
                cells_[column].substr(0, 40));
    return static_cast<int64_t>(value);
  }
  std::string text(size_t column) const { return std::string(cells_[column]); }

 private:
  std::vector<std::string_view> cells_;
  std::string place_;
};

}  // namespace

bool SweepRow::diverged() const {
  return !std::isfinite(loss);
}

bool SweepRow::same_trial(const SweepRow& other) const {
  return std::tie(parametrization, width, layers, steps, seed, values) ==
         std::tie(other.parametrization, other.width, other.layers, other.steps, other.seed,
                  other.values);
}

const SweepRow* SweepTable::find(const SweepRow& trial) const {
  const auto found = std::find_if(rows.begin(), rows.end(),
                                  [&](const SweepRow& row) { return row.same_trial(trial); });
  return found == rows.end() ? nullptr : &*found;
}

std::string to_csv(const SweepTable& table) {
  std::vector<const SweepRow*> rows;
  for (const SweepRow& row : table.rows) rows.push_back(&row);
  std::sort(rows.begin(), rows.end(),
            [](const SweepRow* a, const SweepRow* b) { return order_of(*a) < order_of(*b); });
  std::string text;
  for (const char* column : kColumns) text += fmt::format("{}{}", text.empty() ? "" : ",", column);
  for (const std::string& key : table.keys) text += "," + key;
  text += "\n";
  for (const SweepRow* row : rows) {
    const auto loss = [](double value) {
      return std::isfinite(value) ? fmt::format("{:.6f}", value) : std::string("nan");
    };
    text += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{}", row->parameters, row->tokens,
                        row->flops, loss(row->loss), loss(row->train_loss),
                        row->diverged() ? "diverged" : "done", row->last_step, row->parametrization,
                        row->width, row->layers, row->steps, row->seed);
    for (const std::string& value : row->values) text += "," + value;
    text += "\n";
  }
  return text;
}

SweepTable parse_sweep(std::string_view text, const std::string& origin) {
  SweepTable table;
  bool headed = false;
  int number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    const std::vector<std::string_view> cells = cells_of(line);
    const std::string place = fmt::format("{}:{}", origin, number);
    if (!headed) {
      for (size_t i = 0; i < kFixed; ++i)
        if (i >= cells.size() || cells[i] != kColumns[i])
          fail_user("{}: this is no table of a sweep: column {} should be {}", place, i + 1,
                    kColumns[i]);
      table.keys.assign(cells.begin() + kFixed, cells.end());
      headed = true;
      continue;
    }
    if (cells.size() != kFixed + table.keys.size())
      fail_user("{}: {} values under a header of {}", place, cells.size(),
                kFixed + table.keys.size());
    const RowReader read(cells, place);
    SweepRow row;
    row.parameters = read.real(0, 1);
    row.tokens = read.real(1, 1);
    row.flops = read.real(2, 1);
    row.loss = read.real(3, 0, true);
    row.train_loss = read.real(4, 0, true);
    if (read.text(5) != (row.diverged() ? "diverged" : "done"))
      fail_user(
          "{}: status \"{}\" and loss {} contradict each other; done has a loss, diverged nan",
          place, read.text(5).substr(0, 40), read.text(3));
    row.last_step = read.integer(6, 0);
    row.parametrization = read.text(7);
    row.width = read.integer(8, 1);
    row.layers = read.integer(9, 1);
    row.steps = read.integer(10, 1);
    row.seed = static_cast<uint64_t>(read.integer(11, 0));
    row.values.assign(cells.begin() + kFixed, cells.end());
    for (size_t i = 0; i < row.values.size(); ++i)
      if (std::isnan(number_of(row.values[i])))
        fail_user("{}: {} is \"{}\"; it must be a number", place, table.keys[i],
                  row.values[i].substr(0, 40));
    table.rows.push_back(std::move(row));
  }
  if (!headed)
    fail_user("{}: empty; the table of a sweep has a header and a line per trial", origin);
  return table;
}

std::vector<SweepGroup> groups_of(const SweepTable& table) {
  constexpr double kSameLength = 0.05;  // whole steps of several batches end a little apart
  std::vector<SweepRow> rows = table.rows;
  std::stable_sort(rows.begin(), rows.end(), [](const SweepRow& a, const SweepRow& b) {
    return std::tie(a.parametrization, a.width, a.layers, a.tokens) <
           std::tie(b.parametrization, b.width, b.layers, b.tokens);
  });
  std::vector<SweepGroup> groups;
  for (const SweepRow& row : rows) {
    const bool same = !groups.empty() && groups.back().parametrization == row.parametrization &&
                      groups.back().width == row.width && groups.back().layers == row.layers &&
                      row.tokens <= groups.back().tokens * (1 + kSameLength);
    if (!same)
      groups.push_back({row.parametrization,
                        row.width,
                        row.layers,
                        row.steps,
                        row.parameters,
                        row.tokens,
                        row.flops,
                        {}});
    groups.back().rows.push_back(row);
  }
  return groups;
}

std::vector<SweepPoint> profile(const SweepGroup& group, size_t key) {
  // Of every value: the other keys' settings, each with its losses.
  std::map<double, std::map<std::vector<std::string>, std::vector<double>>> losses;
  for (const SweepRow& row : group.rows) {
    std::vector<std::string> others = row.values;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(key));
    losses[number_of(row.values[key])][others].push_back(row.loss);
  }
  std::vector<SweepPoint> points;
  for (const auto& [value, settings] : losses) {
    const std::vector<double>* best = nullptr;
    double best_mean = 0;
    for (const auto& setting : settings) {
      double mean = 0;
      for (const double loss : setting.second)
        mean += loss / static_cast<double>(setting.second.size());
      if (!best || mean < best_mean || std::isnan(best_mean)) {
        best = &setting.second;
        best_mean = mean;
      }
    }
    for (const double loss : *best) points.push_back({value, loss});
  }
  return points;
}

}  // namespace isoflop
