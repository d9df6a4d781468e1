#include "export/new_folder.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>

namespace isoflop {

namespace {

bool is_export_file(const std::string& name) {
  constexpr std::string_view kNames[] = {"README.md",
                                         "config.json",
                                         "generation_config.json",
                                         "model.safetensors.index.json",
                                         "merges.txt",
                                         "vocab.json",
                                         "tokenizer.json",
                                         "tokenizer.model",
                                         "tokenizer_config.json"};
  return name.ends_with(".safetensors") ||
         std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

void require_replaceable(const fs::path& out, bool replace) {
  if (!fs::exists(out)) return;
  if (!fs::is_directory(out)) fail_user("{} is a file, not a folder to write to", out.string());
  if (fs::is_empty(out)) return;
  if (!replace)
    fail_user("{} is not empty; choose another folder, or replace it with --force", out.string());
  for (const auto& entry : fs::directory_iterator(out))
    if (!entry.is_regular_file() || !is_export_file(entry.path().filename().string()))
      fail_user("{} is not replaced, since it holds {}, which no export writes", out.string(),
                entry.path().filename().string());
}

fs::path without_slash(fs::path path) {
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

NewFolder::NewFolder(fs::path out, bool replace)
    : out_(without_slash(std::move(out))), temporary_(temporary_name(out_)) {
  require_replaceable(out_, replace);
  fs::remove_all(temporary_);  // of an export that was killed
  try {
    require_writable_directory(temporary_);
  } catch (const UserError&) {
    fail_user("cannot write to {}", out_.has_parent_path() ? out_.parent_path().string() : ".");
  }
}

NewFolder::~NewFolder() {
  if (temporary_.empty()) return;
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
}

void NewFolder::commit() {
  const fs::path old = out_.parent_path() / ("." + out_.filename().string() + ".old");
  std::error_code error;
  sync_directory(temporary_);
  fs::remove_all(old);
  const bool replaces = fs::exists(out_);
  if (replaces) fs::rename(out_, old, error);
  if (!error) fs::rename(temporary_, out_, error);
  if (error)
    fail_io("cannot rename {} to {}: {}", temporary_.string(), out_.string(), error.message());
  temporary_.clear();
  sync_directory(out_.parent_path());
  fs::remove_all(old, error);
}

}  // namespace isoflop
