// The member pre_tokenizer of a tokenizer.json as a splitting rule.
#pragma once
#include "datasets/tokenizer/json_input.hpp"
#include "datasets/tokenizer/split_rule.hpp"

namespace isoflop {

/// Takes ByteLevel, alone or at the end of a Sequence behind Split (isolated) and Digits. UserError
/// naming the part that is something else.
SplitRule read_split_rule(const JsonInput& in, const nlohmann::json& pre_tokenizer);

}  // namespace isoflop
