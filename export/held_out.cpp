#include "export/held_out.hpp"

#include "eval/generate.hpp"
#include "eval/language_model.hpp"
#include "pretrain/config/load.hpp"

#include <algorithm>
#include <optional>

namespace isoflop {

namespace {

/// A written text is read again token by token, so it is kept short.
constexpr int64_t kMostWritten = 512;

HeldOutText windows_of(std::string description,
                       const std::vector<int32_t>& ids,
                       int64_t context,
                       int64_t tokens) {
  return {std::move(description),
          spread_windows(ids.size(), context, tokens, [&](uint64_t first, std::span<int32_t> out) {
            std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(first), out.size(), out.begin());
          })};
}

HeldOutText from_texts(const HeldOutRequest& request) {
  const std::vector<std::string>& texts = request.texts;
  const Tokenizer& tokenizer = require_tokenizer(request.tokenizer, request.source.origin());
  std::vector<int32_t> ids;
  for (const std::string& document : read_documents(texts)) {
    if (tokenizer.separator() >= 0) ids.push_back(tokenizer.separator());
    tokenizer.encode(document, ids);
  }
  const std::string more = texts.size() > 1 ? fmt::format(" and {} more", texts.size() - 1) : "";
  HeldOutText text =
      windows_of(texts.front() + more, ids, request.source.config().context, request.tokens);
  if (text.windows.empty()) fail_user("{}: there is too little text to compare on", texts.front());
  return text;
}

/// Where a checkpoint's run keeps what it validates on.
std::vector<fs::path> validation_stores(const fs::path& checkpoint) {
  const fs::path run = checkpoint.parent_path().parent_path();
  std::vector<fs::path> stores = {run / "data" / "valid.h5"};
  if (!fs::exists(checkpoint / "config.toml")) return stores;
  Origins origins;
  for (const DataEntry& entry : load_config(checkpoint / "config.toml", {}, origins).data.valid) {
    stores.push_back(entry.path);
    if (!entry.name.empty())
      stores.push_back(run / "data" / fmt::format("valid-{}.h5", entry.name));
  }
  return stores;
}

std::optional<HeldOutText> from_run(const HeldOutRequest& request) {
  const ModelConfig& config = request.source.config();
  const fs::path origin = request.source.origin();
  if (!fs::is_directory(origin)) return std::nullopt;
  for (const fs::path& path : validation_stores(origin)) {
    if (!fs::is_regular_file(path) || !TokenStore::looks_like_store(path)) continue;
    const auto store = TokenStore::open(path, false, request.tokenizer);
    if (store->tokens() < 2 || store->info().vocabulary > config.vocabulary) continue;
    return HeldOutText{
        path.string(),
        spread_windows(store->tokens(), config.context, request.tokens,
                       [&](uint64_t first, std::span<int32_t> out) { store->read(first, out); })};
  }
  return std::nullopt;
}

HeldOutText written_by(const HeldOutRequest& request, Backend& backend, ThreadTeam& team) {
  LanguageModel model(request.source.origin(), backend, team, {.tokens = 1});
  const int separator = request.tokenizer ? request.tokenizer->separator() : -1;
  std::vector<int32_t> ids = {std::max(separator, 0)};
  Session session(model.model(), backend);
  const Generated written = generate(session, ids,
                                     {.tokens = std::min(request.tokens, kMostWritten),
                                      .sampling = {.temperature = 1, .seed = 1}});
  ids.insert(ids.end(), written.ids.begin(), written.ids.end());
  return windows_of("text that the source wrote (temperature 1, seed 1)", ids,
                    model.config().context, request.tokens);
}

}  // namespace

HeldOutText find_held_out(const HeldOutRequest& request, Backend& backend, ThreadTeam& team) {
  if (!request.texts.empty()) return from_texts(request);
  if (auto text = from_run(request)) return *std::move(text);
  return written_by(request, backend, team);
}

}  // namespace isoflop
