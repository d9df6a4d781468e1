#include "core/error.hpp"

#include <fmt/format.h>

namespace isoflop::detail {

void check_failed(const char* condition, const char* file, int line, const std::string& text) {
  throw std::logic_error(
      fmt::format("internal error: {} ({}:{}: {} does not hold)", text, file, line, condition));
}

}  // namespace isoflop::detail
