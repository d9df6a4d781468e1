#include "pretrain/config/quantity.hpp"

#include "core/error.hpp"

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
  if (unit == 0 || !(number > 0) || !std::isfinite(number * unit)) {
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
    double seconds = 0;
    if (unit == 's') seconds = 1;
    if (unit == 'm') seconds = 60;
    if (unit == 'h') seconds = 3600;
    if (unit == 'd') seconds = 86400;
    good = seconds > 0;
    total += number * seconds;
  }
  if (!good || !(total > 0) || !std::isfinite(total)) {
    fail_user("{}: \"{}\" is not a time; write 90s, 30m, 2h or 1h30m", what, text);
  }
  return total;
}

}  // namespace isoflop
