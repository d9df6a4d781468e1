// What is done with a token file that a fuzz target has opened.
#pragma once
#include "core/error.hpp"
#include "datasets/sampler.hpp"
#include "datasets/statistics.hpp"
#include "datasets/token_store_layout.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace isoflop::fuzz {

inline void use_tokens(const std::string& path) {
  if (!TokenStore::looks_like_store(path)) fail_format("{} looks like no token store", path);
  const auto store = TokenStore::open(path, true);
  if (find_stores(path).size() != 1 || name_of(store->info().format).empty())
    found("a store without a name or a format");
  const std::string sources = token_store_layout::sources_to_json(store->info().sources);
  if (token_store_layout::sources_to_json(
          token_store_layout::sources_from_json(sources, "what we wrote")) != sources)
    found("sources that do not read back the same");
  const StoreStatistics statistics = store_statistics(*store, 3, 8);
  if (statistics.tokens.total > store->tokens()) found("documents of more tokens than there are");
  const Sampler sampler(TokenStores{store}, 3, 1);
  std::vector<int32_t> window(4);
  for (uint64_t i = 0; i < std::min<uint64_t>(2 * sampler.windows(), 50); ++i) {
    sampler.read(i, window);
    for (const int32_t id : window)
      if (id < 0 || id >= store->info().vocabulary) found("an id outside of the vocabulary");
  }
}

}  // namespace isoflop::fuzz
