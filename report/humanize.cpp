#include "report/humanize.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string_view>

namespace isoflop {

namespace {

/// Three digits, no trailing zeros after the point.
std::string three_digits(double value) {
  std::string text = fmt::format("{:.{}f}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
  if (text.find('.') != text.npos) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

std::string with_unit(double value, double base, std::string_view units) {
  if (!std::isfinite(value)) return "?";
  if (value < 0) return "-" + with_unit(-value, base, units);
  size_t unit = 0;  // 0 = none
  // 999.6 would round to 1000: it belongs to the next unit.
  while (value >= base - 0.5 && unit < units.size()) {
    value /= base;
    ++unit;
  }
  const std::string text = three_digits(value);
  return unit == 0 ? text : text + units[unit - 1];
}

}  // namespace

std::string human_count(double count) {
  return with_unit(count, 1000, "kMBT");
}

std::string human_bytes(double bytes) {
  return with_unit(bytes, 1024, "KMGT");
}

std::string human_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "?";
  if (seconds < 0.9995) return fmt::format("{:.0f}ms", seconds * 1000);
  const double whole = std::round(seconds);
  const auto part = [whole](double unit, double of) {
    return std::fmod(std::floor(whole / unit), of);
  };
  if (whole < 60) return fmt::format("{:.0f}s", whole);
  if (whole < 3600) return fmt::format("{:.0f}m{:02.0f}s", part(60, 60), part(1, 60));
  if (whole < 86400) return fmt::format("{:.0f}h{:02.0f}m", part(3600, 24), part(60, 60));
  return fmt::format("{:.0f}d{:02.0f}h", std::floor(whole / 86400), part(3600, 24));
}

std::string human_rate(double value) {
  if (!std::isfinite(value)) return "?";
  if (value == 0) return "0";
  const std::string text = fmt::format("{:.1e}", value);  // 5.4e-03
  const size_t e = text.find('e');
  std::string mantissa = text.substr(0, e);
  if (mantissa.size() > 2 && mantissa.substr(mantissa.size() - 2) == ".0")
    mantissa.resize(mantissa.size() - 2);
  return fmt::format("{}e{}", mantissa, std::stoi(text.substr(e + 1)));
}

}  // namespace isoflop
