// The parts that every tokenizer.json has, as text: byte for byte the same for the same tokenizer.
#pragma once
#include "datasets/tokenizer/added_tokens.hpp"

#include <string>
#include <vector>

namespace isoflop {

inline const std::string kJsonHead =
    "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n";

std::string json_string(const std::string& text);
std::string json_added_tokens(const std::vector<AddedToken>& added,
                              const std::vector<std::string>& tokens);

struct JsonModel {
  const std::vector<std::string>& tokens;  // by id
  const std::vector<std::string>& merges;  // "left right"
  bool ignore_merges = false;
  bool byte_fallback = false;
  std::string unknown = {};  // its text; "" = none
  bool fuse_unknown = false;
  std::string own = {};  // members of model.isoflop, which libraries pass over; "" = none
};
/// The member "model" of the object.
std::string json_model(const JsonModel& model);

}  // namespace isoflop
