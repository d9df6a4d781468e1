#include "eval/session.hpp"

#include <algorithm>

namespace isoflop {

int64_t Session::common_prefix(std::span<const int32_t> ids) const {
  const auto end = std::mismatch(ids.begin(), ids.end(), held_.begin(), held_.end());
  auto common = static_cast<size_t>(end.first - ids.begin());
  common = std::min(common, ids.size() - 1);  // logits come from computing the last token
  // A cache cut short does not know where the document of its new end began.
  if (model_.config().document_mask && common < held_.size()) common = 0;
  return static_cast<int64_t>(common);
}

View Session::read(std::span<const int32_t> ids, const std::function<bool()>& stop) {
  ISOFLOP_CHECK(!ids.empty(), "a model needs at least one token to start from");
  ISOFLOP_CHECK(static_cast<int64_t>(ids.size()) <= context(), "{} tokens in a context of {}",
                ids.size(), context());
  reused_ = common_prefix(ids);
  cache_.length = reused_;
  if (reused_ == 0) cache_.document_start = 0;
  held_.resize(static_cast<size_t>(reused_));
  View logits;
  while (held_.size() < ids.size()) {
    if (stop && stop()) return {};
    const size_t left = ids.size() - held_.size();
    const auto piece =
        ids.subspan(held_.size(), std::min(left, static_cast<size_t>(model_.max_tokens())));
    logits = model_.decode(piece, cache_);
    held_.insert(held_.end(), piece.begin(), piece.end());
  }
  return logits;
}

}  // namespace isoflop
