// A JSON object from a hostile file, value by value: nothing is built that the file's form has no
// place for. nlohmann's parser calls the lower-case functions below; a reader overrides the three
// virtual ones and finds the keys that lead to the value in path(). An element of a list has the
// path of its list.
//
// Refused with a FormatError that names file and place: keys given twice, what is no JSON or not
// UTF-8, other values than texts and whole numbers from 0, nesting deeper than the reader takes.
#pragma once
#include "core/error.hpp"

#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

class JsonEvents {
 public:
  JsonEvents(std::string origin, size_t most_depth)
      : origin_(std::move(origin)), most_depth_(most_depth) {}
  virtual ~JsonEvents() = default;

  void parse(std::string_view text) { nlohmann::json::sax_parse(text.begin(), text.end(), this); }

  bool null() { refuse("null"); }
  bool boolean(bool) { refuse("true or false"); }
  bool number_integer(int64_t) { refuse("a negative number"); }
  bool number_float(double, const std::string&) { refuse("not a whole number below 2^64"); }
  bool binary(nlohmann::json::binary_t&) { refuse("binary"); }
  bool number_unsigned(uint64_t value) {
    on_number(value);
    return true;
  }
  bool string(const std::string& value) {
    on_text(value);
    return true;
  }
  bool key(std::string& name) {
    path_.back() = name;
    if (!open_.back().keys.insert(name).second) fail("{} is given twice", place());
    return true;
  }
  bool start_object(size_t) { return open(false); }
  bool start_array(size_t) { return open(true); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool parse_error(size_t byte, const std::string&, const nlohmann::json::exception&) {
    fail("not valid JSON at byte {}", byte);
  }

 protected:
  virtual void on_text(const std::string&) { refuse("a text"); }
  virtual void on_number(uint64_t) { refuse("a number"); }
  /// An object or list begins at path() (empty: the whole), and one has ended there.
  virtual void on_open(bool /*list*/) {}
  virtual void on_close() {}

  const std::vector<std::string>& path() const { return path_; }
  bool in_list() const { return !open_.empty() && open_.back().list; }
  std::string place() const {
    return path_.empty() ? "the JSON" : fmt::format("{}", fmt::join(path_, ": "));
  }
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) const {
    constexpr size_t kLongest = 1000;  // names may be as long as the file
    const std::string message = fmt::format(text, std::forward<Args>(args)...);
    fail_format("{}: {}", origin_, std::string_view(message).substr(0, kLongest));
  }
  [[noreturn]] void refuse(std::string_view what) const {
    fail("{} is {}, which has no place there", place(), what);
  }

 private:
  struct Open {
    bool list;
    std::set<std::string> keys;  // of an object
  };
  bool open(bool list) {
    if (open_.size() == most_depth_) refuse("nested too deeply");
    if (open_.empty() && list) refuse("a list");
    on_open(list);
    open_.push_back({list, {}});
    if (!list) path_.emplace_back();
    return true;
  }
  bool close() {
    if (!open_.back().list) path_.pop_back();
    open_.pop_back();
    on_close();
    return true;
  }

  std::string origin_;
  size_t most_depth_;
  std::vector<std::string> path_;
  std::vector<Open> open_;
};

}  // namespace isoflop
