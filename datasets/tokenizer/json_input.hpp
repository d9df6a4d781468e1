// Reading JSON that may be anything: every access names the field when it is not what it should be.
#pragma once
#include <nlohmann/json.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

class JsonInput {
 public:
  /// FormatError with the byte offset when the text is not JSON or not UTF-8.
  JsonInput(std::string_view text, std::string origin);

  const nlohmann::json& root() const { return root_; }
  const std::string& origin() const { return origin_; }

  /// Throws FormatError "origin: field: problem".
  [[noreturn]] void fail(const std::string& field, const std::string& problem) const;
  /// Throws UserError "origin: `what` is not supported".
  [[noreturn]] void unsupported(const std::string& what) const;
  /// The value of "type" of the member, or "" for null; the member must be null or an object.
  std::string type_of(const nlohmann::json& parent, const char* name) const;
  /// The member, or null when it is absent. `parent` must be an object.
  const nlohmann::json& member(const nlohmann::json& parent, const char* name) const;
  const std::string& string(const nlohmann::json& value, const std::string& field) const;
  bool flag(const nlohmann::json& parent,
            const std::string& prefix,
            const char* name,
            bool absent) const;
  size_t index(const nlohmann::json& value, const std::string& field, size_t end) const;

 private:
  std::string origin_;
  nlohmann::json root_;
};

/// Tokens collected under ids that must in the end run from 0 without a gap.
class NumberedTokens {
 public:
  explicit NumberedTokens(size_t most) : texts_(most) {}
  /// False when the id has another text already.
  bool place(size_t id, const std::string& text);
  /// FormatError naming the first id without a token.
  std::vector<std::string> take(const JsonInput& input, const std::string& field);

 private:
  std::vector<std::string> texts_;  // empty: none yet
  size_t count_ = 0;
};

/// The tokens of an object {"text": id, ...}; `more` ids are allowed beyond its size.
NumberedTokens read_vocab(const JsonInput& input,
                          const nlohmann::json& vocab,
                          const std::string& field,
                          size_t more);

}  // namespace isoflop
