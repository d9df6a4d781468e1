#include "pretrain/train/data_manifest.hpp"

#include "core/error.hpp"
#include "core/hash.hpp"

#include <nlohmann/json.hpp>

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

Json describe(const TokenStore& store) {
  const TokenStoreInfo& info = store.info();
  Json entry = {{"path", store.path().string()},
                {"format", name_of(info.format)},
                {"tokens", info.tokens},
                {"documents", info.documents},
                {"fingerprint", hash_hex(info.fingerprint)}};
  for (const TokenSource& source : info.sources)
    entry["sources"].push_back(
        {{"path", source.path}, {"bytes", source.bytes}, {"xxh3", hash_hex(source.hash)}});
  return entry;
}

Json describe(const TokenStores& stores) {
  Json list = Json::array();
  for (const auto& store : stores) list.push_back(describe(*store));
  return list;
}

Json describe_training(const std::vector<SampledSource>& sources) {
  Json list = Json::array();
  for (const SampledSource& source : sources)
    list.push_back(
        {{"name", source.name}, {"weight", source.weight}, {"stores", describe(source.stores)}});
  return list;
}

/// What must not change, and how to call it.
void compare(const Json& was, const Json& now, const char* key, const std::string& what) {
  if (was.at(key) == now.at(key)) return;
  fail_user(
      "the run cannot go on with other data: {} has {} {}, and had {}; put the old data back, or "
      "start a new run with another --out",
      what, key, now.at(key).dump(), was.at(key).dump());
}

void compare_sizes(const Json& was, const Json& now, const char* noun) {
  if (was.size() != now.size())
    fail_user(
        "the run cannot go on with other data: there are {} {}, and were {}; put the old data "
        "back, or start a new run with another --out",
        now.size(), noun, was.size());
}

}  // namespace

std::string data_manifest(const Run& run) {
  Json sets = Json::array();
  for (const ValidSet& set : run.valid)
    sets.push_back({{"name", set.name}, {"stores", describe(set.stores)}});
  // File names need not be UTF-8; what is not is replaced.
  return Json({{"train", describe_training(run.train)}, {"valid", sets}})
             .dump(2, ' ', false, Json::error_handler_t::replace) +
         "\n";
}

void require_same_data(std::string_view stored, const std::string& name, const Run& run) {
  const Json now = Json::parse(data_manifest(run)).at("train");
  try {
    const Json was = Json::parse(stored).at("train");
    compare_sizes(was, now, "sources of training data");
    for (size_t i = 0; i < now.size(); ++i) {
      compare(was.at(i), now.at(i), "weight", fmt::format("source {}", i + 1));
      const Json &old_stores = was.at(i).at("stores"), &stores = now.at(i).at("stores");
      compare_sizes(old_stores, stores, "token stores");
      for (size_t s = 0; s < stores.size(); ++s)
        for (const char* key : {"tokens", "fingerprint"})
          compare(old_stores.at(s), stores.at(s), key, stores[s]["path"].get<std::string>());
    }
  } catch (const Json::exception& error) {
    fail_format("{} is damaged: {}; remove it to go on without this check", name, error.what());
  }
}

std::string data_fingerprints(const Run& run) {
  std::string text;
  const auto add = [&](const TokenStores& stores) {
    for (const auto& store : stores)
      text += fmt::format("{}{} tokens {}", text.empty() ? "" : ", ", store->info().tokens,
                          hash_hex(store->info().fingerprint));
  };
  for (const SampledSource& source : run.train) add(source.stores);
  for (const ValidSet& set : run.valid) add(set.stores);
  return text;
}

}  // namespace isoflop
