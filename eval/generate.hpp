// Text from a model, token by token through the KV cache.
#pragma once
#include "eval/sampling.hpp"
#include "eval/session.hpp"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace isoflop {

struct GenerateOptions {
  int64_t tokens = 128;  // at most this many new ones
  SamplingOptions sampling;
  std::vector<int32_t> stop_tokens = {};  // end the text when drawn, and are not part of it
  /// When the context is full: forget the older half and go on, or end.
  bool slide = true;
};

enum class Ending { tokens, stop_token, context, caller };

struct Generated {
  std::vector<int32_t> ids;  // new ones
  Ending ending = Ending::tokens;
};

/// New tokens after `prompt` (at least one token). A prompt longer than the context is read from
/// its last tokens on when sliding. `on_token` (when given) sees each token as it is drawn and may
/// end the text by returning false; `stop` is asked while a long prompt is read.
Generated generate(Session& session,
                   std::span<const int32_t> prompt,
                   const GenerateOptions& options,
                   const std::function<bool(int32_t)>& on_token = {},
                   const std::function<bool()>& stop = {});

}  // namespace isoflop
