// What the body of a request says, field by field. UserError for what is wrong, naming the field;
// null and absent are the same everywhere.
#pragma once
#include "datasets/tokenizer.hpp"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace isoflop {

/// Bounded in nesting and in keys of an object; the listener has bounded its size.
nlohmann::ordered_json parse_body(const std::string& text);

double number_in(const nlohmann::ordered_json& body,
                 const char* key,
                 double otherwise,
                 double least,
                 double most);
int64_t integer_in(const nlohmann::ordered_json& body,
                   const char* key,
                   int64_t otherwise,
                   int64_t least,
                   int64_t most);
bool flag_in(const nlohmann::ordered_json& body, const char* key);
std::vector<std::string> stops_in(const nlohmann::ordered_json& body);
/// `messages` with their content as text: parts of text are joined.
nlohmann::ordered_json messages_in(const nlohmann::ordered_json& body);
/// The ids of `prompt`, never none.
std::vector<int32_t> prompt_in(const nlohmann::ordered_json& body, const Tokenizer& tokenizer);
/// What would change the answer and is not done.
void refuse_unsupported(const nlohmann::ordered_json& body);

}  // namespace isoflop
