// The flags of a command. CLI11 parses them, and only flags.cpp sees it: its headers compile a
// whole parser into every file that includes them, which took longer than the commands themselves.
#pragma once
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace CLI {
class App;
class Option;
class Validator;
}  // namespace CLI

namespace isoflop {

/// What a value has to be.
class Check {
 public:
  explicit Check(CLI::Validator validator);
  ~Check();
  Check(Check&&) noexcept;
  const CLI::Validator& validator() const { return *validator_; }

 private:
  std::unique_ptr<CLI::Validator> validator_;
};
/// Numbers from `low` to `high`, both included.
Check range_of(int64_t low, int64_t high);
Check range_of(double low, double high);
template <class T>
Check in_range(T low, T high) {
  if constexpr (std::is_floating_point_v<T>)
    return range_of(static_cast<double>(low), static_cast<double>(high));
  else
    return range_of(static_cast<int64_t>(low), static_cast<int64_t>(high));
}
/// One of these words.
Check one_of(const std::vector<std::string>& words);

/// A flag that was declared; its owner is the Flags it came from.
class Flag {
 public:
  explicit Flag(CLI::Option* option) : option_(option) {}

  Flag* check(const Check& check);
  Flag* required();
  Flag* capture_default_str();  // --help shows the variable's value as it is now
  Flag* needs(const Flag* other);
  Flag* excludes(const Flag* other);
  Flag* expected(int values);            // for each time that it is given
  Flag* take_all();                      // may be given again
  Flag* allow_extra_args(bool allowed);  // whether words may follow the first
  Flag* hidden();                        // from --help
  bool given() const;

 private:
  CLI::Option* option_;
};

/// Bound variables outlive the parsing. Whatever was not given keeps its value.
class Flags {
 public:
  Flags(const std::string& summary, const std::string& name);
  ~Flags();

  /// "-n,--tokens", "--seeds", or a word without dashes for what stands alone. For the types that
  /// flags.cpp lists.
  template <class T>
  Flag* add_option(const std::string& names, T& variable, const std::string& help = {});
  Flag* add_flag(const std::string& names, bool& variable, const std::string& help);
  /// --threads, 0 = all.
  Flag* add_threads(int& variable);

  /// False when help was asked for. UserError says what is wrong, and what to do.
  bool parse(std::vector<std::string> words);
  std::string help() const;

 private:
  std::unique_ptr<CLI::App> app_;
  std::deque<Flag> flags_;  // pointers to them stay
};

}  // namespace isoflop
