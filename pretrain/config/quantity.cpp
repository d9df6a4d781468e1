#include "pretrain/config/quantity.hpp"

#include "core/error.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace isoflop {

bool take_number(std::string_view& text, double& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number)) return false;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return true;
}

double parse_tokens(std::string_view text, const std::string& what) {
  std::string_view rest = text;
  double number = 0;
  double unit = 0;
  if (take_number(rest, number)) {
    if (rest.empty() || rest == "tok") unit = 1;
    if (rest == "ktok" || rest == "Ktok") unit = 1e3;
    if (rest == "Mtok") unit = 1e6;
    if (rest == "Gtok" || rest == "Btok") unit = 1e9;
    if (rest == "Ttok") unit = 1e12;
  }
  if (unit == 0 || !(number > 0)) {
    fail_user("{}: \"{}\" is not a number of tokens; write 2.2e9, 2.2Gtok, 375Mtok or 16ktok", what,
              text);
  }
  return number * unit;
}

double parse_seconds(std::string_view text, const std::string& what) {
  std::string_view rest = text;
  double total = 0;
  bool good = !rest.empty();
  while (good && !rest.empty()) {
    double number = 0;
    good = take_number(rest, number) && number >= 0 && !rest.empty();
    if (!good) break;
    const char unit = rest.front();
    rest.remove_prefix(1);
    if (unit == 'm' && rest.substr(0, 2) == "in") rest.remove_prefix(2);
    const double seconds = unit == 's'   ? 1
                           : unit == 'm' ? 60
                           : unit == 'h' ? 3600
                           : unit == 'd' ? 86400
                                         : 0;
    good = seconds > 0;
    total += number * seconds;
  }
  if (!good || !(total > 0)) {
    fail_user("{}: \"{}\" is not a time; write 90s, 30m, 2h or 1h30m", what, text);
  }
  return total;
}

std::string format_seconds(double seconds) {
  if (seconds < 9.95) return fmt::format("{:.1f}s", seconds);
  const int64_t whole = std::llround(seconds);
  if (whole < 60) return fmt::format("{}s", whole);
  const int64_t minutes = std::llround(seconds / 60);
  if (minutes < 10) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  if (minutes < 60) return fmt::format("{}m", minutes);
  const int64_t hours = minutes / 60;
  if (hours < 24) return fmt::format("{}h{:02}m", hours, minutes % 60);
  return fmt::format("{}d{:02}h", hours / 24, hours % 24);
}

std::string format_count(double count) {
  static const struct {
    double unit;
    const char* name;
  } kUnits[] = {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}};
  for (const auto& unit : kUnits) {
    if (count >= unit.unit * 0.9995) return fmt::format("{:.3g}{}", count / unit.unit, unit.name);
  }
  return fmt::format("{:.3g}", count);
}

}  // namespace isoflop
