// Session: a model and the text it has read. Reading a text that begins like the last one computes
// only what is new.
#pragma once
#include "pretrain/model/model.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace isoflop {

class Session {
 public:
  /// Both outlive it. Memory: one KvCache.
  Session(Model& model, Backend& backend) : model_(model), cache_(model.config(), backend) {}

  /// The logits (1, V) that follow `ids` (1 to context of them), valid until the next call. Read in
  /// pieces of model.max_tokens(); between pieces `stop`, when given, may end the call with an
  /// absent view; what was read is kept.
  View read(std::span<const int32_t> ids, const std::function<bool()>& stop = {});

  int64_t context() const { return model_.config().context; }
  int32_t vocabulary() const { return static_cast<int32_t>(model_.config().vocabulary); }
  /// Tokens that the last read() found in the cache.
  int64_t reused() const { return reused_; }

 private:
  int64_t common_prefix(std::span<const int32_t> ids) const;

  Model& model_;
  KvCache cache_;
  std::vector<int32_t> held_;  // the tokens in the cache
  int64_t reused_ = 0;
};

}  // namespace isoflop
