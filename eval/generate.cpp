#include "eval/generate.hpp"

#include <algorithm>

namespace isoflop {

Generated generate(Session& session,
                   std::span<const int32_t> prompt,
                   const GenerateOptions& options,
                   const std::function<bool(int32_t)>& on_token,
                   const std::function<bool()>& stop) {
  ISOFLOP_CHECK(!prompt.empty(), "generation needs at least one token to start from");
  const auto context = static_cast<size_t>(session.context());
  std::vector<int32_t> text(prompt.begin(), prompt.end());
  size_t start = text.size() > context && options.slide ? text.size() - context : 0;
  Generated result;
  for (int64_t n = 0; n < options.tokens; ++n) {
    if (text.size() - start > context) {
      result.ending = Ending::context;
      if (!options.slide) break;
      start = text.size() - (context / 2 + 1);
    }
    const View logits = session.read(std::span<const int32_t>(text).subspan(start), stop);
    result.ending = Ending::caller;
    if (!logits.data) break;
    const int32_t token = pick_token(logits, options.sampling, static_cast<uint64_t>(n), text);
    result.ending = Ending::stop_token;
    if (std::ranges::count(options.stop_tokens, token)) break;
    text.push_back(token);
    result.ending = Ending::caller;
    if (on_token && !on_token(token)) break;
    result.ending = Ending::tokens;
  }
  result.ids.assign(text.begin() + static_cast<std::ptrdiff_t>(prompt.size()), text.end());
  return result;
}

}  // namespace isoflop
