#include "datasets/tokenizer.hpp"
#include "tests/fuzz/fuzz.hpp"
#include "tests/fuzz/use_tokenizer.hpp"

#include <nlohmann/json.hpp>

#include <functional>

namespace isoflop::fuzz {
namespace {

using nlohmann::json;

std::string changed(size_t seed, const std::function<void(json&)>& change) {
  json file = json::parse(json_seeds()[seed]);
  change(file);
  return file.dump();
}

std::vector<std::string> seeds() {
  std::vector<std::string> all = json_seeds();
  all.push_back(changed(1, [](json& file) {  // newer files write a merge as two texts
    for (json& merge : file["model"]["merges"]) {
      const std::string text = merge.get<std::string>();
      const size_t space = text.find(' ');
      merge = {text.substr(0, space), text.substr(space + 1)};
    }
    file["model"]["unk_token"] = file["model"]["vocab"].begin().key();
  }));
  return all;
}

std::vector<std::string> refused() {
  return {
      changed(1, [](json& file) { file["model"]["unk_token"] = "not a token"; }),
      changed(1,
              [](json& file) {
                file["model"]["merges"][0] = {"a", "b", "c"};
              }),
      changed(1, [](json& file) { file["model"]["vocab"].erase("a"); }),
      changed(0, [](json& file) { file["model"]["vocab"]["two characters"] = 270; }),
      changed(3, [](json& file) { file["pre_tokenizer"]["pretokenizers"] = json::array(); }),
      changed(4, [](json& file) { file["model"]["isoflop"]["pieces"]["scores"][0] = "x"; }),
  };
}

void run(std::string_view bytes) {
  use_tokenizer(*Tokenizer::from_json(bytes, "fuzz"));
}

const Registered target(
    {"tokenizer_json",
     seeds,
     run,
     {"datasets/tokenizer/read_tokenizer_json.cpp", "datasets/tokenizer/json_input.cpp",
      "datasets/tokenizer/json_split_rule.cpp", "datasets/tokenizer/piece_json.cpp"},
     refused});

}  // namespace
}  // namespace isoflop::fuzz
