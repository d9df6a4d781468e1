#include "launch/flags.hpp"

#include "core/error.hpp"
#include "pretrain/config/nearest.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>

namespace isoflop {

namespace {

std::string nearest_flag(const CLI::App& app, const std::string& flag) {
  std::vector<std::string> flags;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) flags.push_back("--" + name);
  }
  return nearest_word(flag, flags);
}

/// CLI11's own complaints, ended by what to do.
[[noreturn]] void refuse_flags(const CLI::App& app, const CLI::ParseError& error) {
  std::string advice = "see " + app.get_name() + " --help";
  if (dynamic_cast<const CLI::ExtrasError*>(&error)) {
    for (const std::string& extra : app.remaining()) {
      const std::string nearest = nearest_flag(app, extra.substr(0, extra.find('=')));
      if (nearest.empty()) continue;
      advice = "did you mean " + nearest + "?";
      break;
    }
  }
  fail_user("{}; {}", error.what(), advice);
}

}  // namespace

Check::Check(CLI::Validator validator)
    : validator_(std::make_unique<CLI::Validator>(std::move(validator))) {}
Check::~Check() = default;
Check::Check(Check&&) noexcept = default;

Check range_of(int64_t low, int64_t high) {
  return Check(CLI::Range(low, high));
}
Check range_of(double low, double high) {
  // CLI::Range lets pass what is no number.
  const auto outside = [low, high](std::string& text) {
    double value = 0;
    if (CLI::detail::lexical_cast(text, value) && value >= low && value <= high)
      return std::string();
    return fmt::format("Value {} not in range {} to {}", text, low, high);
  };
  return Check(CLI::Validator(outside, fmt::format("FLOAT in [{} - {}]", low, high)));
}
Check one_of(const std::vector<std::string>& words) {
  return Check(CLI::IsMember(words));
}

Flag* Flag::check(const Check& check) {
  option_->check(check.validator());
  return this;
}
Flag* Flag::required() {
  option_->required();
  return this;
}
Flag* Flag::capture_default_str() {
  option_->capture_default_str();
  return this;
}
Flag* Flag::needs(const Flag* other) {
  option_->needs(other->option_);
  return this;
}
Flag* Flag::excludes(const Flag* other) {
  option_->excludes(other->option_);
  return this;
}
Flag* Flag::expected(int values) {
  option_->expected(values);
  return this;
}
Flag* Flag::take_all() {
  option_->take_all();
  return this;
}
Flag* Flag::allow_extra_args(bool allowed) {
  option_->allow_extra_args(allowed);
  return this;
}
Flag* Flag::hidden() {
  option_->group("");
  return this;
}
bool Flag::given() const {
  return option_->count() > 0;
}

Flags::Flags(const std::string& summary, const std::string& name)
    : app_(std::make_unique<CLI::App>(summary, name)) {}
Flags::~Flags() = default;

template <class T>
Flag* Flags::add_option(const std::string& names, T& variable, const std::string& help) {
  return &flags_.emplace_back(app_->add_option(names, variable, help));
}
template Flag* Flags::add_option(const std::string&, std::string&, const std::string&);
template Flag* Flags::add_option(const std::string&, std::filesystem::path&, const std::string&);
template Flag* Flags::add_option(const std::string&, int&, const std::string&);
template Flag* Flags::add_option(const std::string&, uint32_t&, const std::string&);
template Flag* Flags::add_option(const std::string&, int64_t&, const std::string&);
template Flag* Flags::add_option(const std::string&, uint64_t&, const std::string&);
template Flag* Flags::add_option(const std::string&, float&, const std::string&);
template Flag* Flags::add_option(const std::string&, double&, const std::string&);
template Flag* Flags::add_option(const std::string&, std::vector<std::string>&, const std::string&);
template Flag* Flags::add_option(const std::string&,
                                 std::vector<std::filesystem::path>&,
                                 const std::string&);
template Flag* Flags::add_option(const std::string&, std::vector<int32_t>&, const std::string&);
template Flag* Flags::add_option(const std::string&,
                                 std::optional<std::string>&,
                                 const std::string&);

Flag* Flags::add_threads(int& variable) {
  return add_option("--threads", variable, "cores to use; 0 = all")->check(in_range(0, 1 << 10));
}

Flag* Flags::add_flag(const std::string& names, bool& variable, const std::string& help) {
  return &flags_.emplace_back(app_->add_flag(names, variable, help));
}

bool Flags::parse(std::vector<std::string> words) {
  std::reverse(words.begin(), words.end());  // the order App::parse takes a vector in
  try {
    app_->parse(words);
  } catch (const CLI::CallForHelp&) {
    return false;
  } catch (const CLI::ParseError& error) {
    refuse_flags(*app_, error);
  }
  return true;
}

std::string Flags::help() const {
  return app_->help();
}

}  // namespace isoflop
