#include "launch/family.hpp"

#include "core/error.hpp"
#include "pretrain/config/resolve.hpp"

#include <algorithm>
#include <charconv>
#include <sstream>

namespace isoflop {

std::vector<std::string> resized(const RunConfig& config, int64_t width, int64_t layers) {
  std::vector<std::string> changes;
  if (layers > 0) changes.push_back(fmt::format("model.layers={}", layers));
  if (width == 0) return changes;
  const ModelConfig model = resolved(config).model;
  const int64_t queries_per_key = model.heads / model.kv_heads;
  const int64_t unit = model.head_dim * queries_per_key;
  if (width % unit != 0)
    fail_user(
        "a width of {} is no multiple of {} (heads of {} entries{}); heads keep their size when "
        "the width changes, so choose multiples or another model.head_dim",
        width, unit, model.head_dim,
        queries_per_key > 1 ? fmt::format(", {} to a key/value head", queries_per_key) : "");
  changes.push_back(fmt::format("model.d_model={}", width));
  changes.push_back(fmt::format("model.heads={}", width / model.head_dim));
  changes.push_back(fmt::format("model.head_dim={}", model.head_dim));
  changes.push_back(fmt::format("model.kv_heads={}", width / unit));
  if (config.model.d_ff > 0)
    changes.push_back(
        fmt::format("model.d_ff={}", std::max<int64_t>(1, model.d_ff * width / model.d_model)));
  return changes;
}

std::vector<int64_t> parse_sizes(const std::string& text, const std::string& flag) {
  std::vector<int64_t> sizes;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, ',');) {
    int64_t size = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), size);
    if (error != std::errc() || end != word.data() + word.size() || size < 1 || size > 1000000)
      fail_user("{} {}: \"{}\" is no size; write whole numbers such as {} 64,128,256", flag, text,
                word, flag);
    sizes.push_back(size);
  }
  std::sort(sizes.begin(), sizes.end());
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

}  // namespace isoflop
