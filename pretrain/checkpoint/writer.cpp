#include "pretrain/checkpoint/writer.hpp"

#include "core/error.hpp"
#include "ops/host_copy.hpp"
#include "pretrain/checkpoint/checkpoint.hpp"

#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <numeric>
#include <utility>
#include <vector>

namespace isoflop {

namespace {

constexpr std::string_view kTemporarySuffix = ".tmp";

fs::path temporary_folder(const fs::path& folder) {
  return temporary_name(folder);
}

/// Like commit_file for a folder, whose target may exist and not be empty: then the two swap names
/// in one step, so that a whole checkpoint is in place at any time.
void commit_folder(const fs::path& temporary, const fs::path& folder) {
  std::error_code error;
  if (!fs::exists(folder, error)) return commit_file(temporary, folder);
  sync_path(temporary);
  fault_point("rename");
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, folder.c_str(), RENAME_EXCHANGE) != 0) {
    if (errno != EINVAL && errno != ENOSYS)
      fail_io("cannot rename {} to {}: {}", temporary.string(), folder.string(),
              std::strerror(errno));
    fs::remove_all(folder, error);  // a file system without the exchange
    return commit_file(temporary, folder);
  }
  fault_point("rename");
  sync_directory(folder.parent_path());
  fs::remove_all(temporary, error);
}

/// Under a name that does not count first: half of a checkpoint must not look like one.
void remove_checkpoint(const fs::path& folder) {
  const fs::path doomed = temporary_folder(folder);
  std::error_code error;
  fault_point("rename");
  fs::rename(folder, doomed, error);
  if (!error) fs::remove_all(doomed, error);
}

void remove_leftovers(const fs::path& checkpoints) {
  std::error_code error;
  std::vector<fs::path> leftovers;
  for (const fs::directory_entry& entry : fs::directory_iterator(checkpoints, error)) {
    const std::string name = entry.path().filename().string();
    if (name.front() == '.' && name.ends_with(kTemporarySuffix)) leftovers.push_back(entry.path());
  }
  for (const fs::path& path : leftovers) fs::remove_all(path, error);
}

}  // namespace

CheckpointWriter::CheckpointWriter(CheckpointWriterOptions options,
                                   const ParamTable& table,
                                   const Sharding& sharding)
    : options_(std::move(options)),
      table_(table),
      sharding_(sharding),
      ranks_(options_.ranks ? options_.ranks->split(0, options_.ranks->rank()) : make_self()),
      folder_(checkpoints_folder(options_.run)),
      parameters_(sharding.buffer(table, DType::f32, "the copy of the parameters for checkpoints")),
      first_moments_(sharding.buffer(table, DType::f32, "the copy of the moments for checkpoints")),
      second_moments_(
          sharding.second_moments(table, DType::f32, "the copy of the moments for checkpoints")) {
  if (ranks_->is_root()) {
    require_writable_directory(folder_);
    remove_leftovers(folder_);
  }
  thread_ = std::thread([this] { write_in_background(); });
}

CheckpointWriter::~CheckpointWriter() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void CheckpointWriter::copy(View from, View to, const char* what) const {
  ISOFLOP_CHECK(from.rows == to.rows && from.cols == to.cols,
                "{} do not have the shape of the parameter table", what);
  View here = to;
  if (from.dtype == DType::bf16) {  // into the second half of its place, to be widened from there
    here =
        make_view(static_cast<std::byte*>(to.data) + to.bytes() / 2, DType::bf16, to.rows, to.cols);
  }
  ISOFLOP_CHECK(from.dtype == here.dtype, "{} in {}", what, name_of(from.dtype));
  if (options_.backend)
    options_.backend->download(from, here);
  else
    std::memcpy(here.data, from.data, here.bytes());
  if (here.dtype == DType::bf16) widen(here, to);
}

void CheckpointWriter::save(const TrainState& state,
                            const ParamBuffer& parameters,
                            const ParamBuffer& first_moments,
                            const ParamBuffer& second_moments) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !busy_; });
  state_ = state;
  for (size_t i = 0; i < table_.size(); ++i) {
    const RowRange rows = sharding_.rows(i);
    if (rows.count == 0) continue;
    copy(rows_of(parameters[i], rows), parameters_[i], "parameters");
  }
  for (size_t i = 0; i < table_.size(); ++i) {
    if (first_moments_[i]) copy(first_moments[i], first_moments_[i], "first moments");
    if (second_moments_[i]) copy(second_moments[i], second_moments_[i], "second moments");
  }
  busy_ = true;
  changed_.notify_all();
}

void CheckpointWriter::forget_after(int64_t step) {
  finish();
  if (!ranks_->is_root()) return;
  for (const CheckpointEntry& entry : list_checkpoints(options_.run))
    if (entry.step > step) remove_checkpoint(entry.folder);
  const std::vector<CheckpointEntry> left = list_checkpoints(options_.run);
  if (!left.empty())
    write_file_atomically(folder_ / "latest", left.front().folder.filename().string() + "\n");
}

bool CheckpointWriter::finish() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return !busy_; });
  return last_error_.empty();
}

void CheckpointWriter::write_in_background() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return busy_ || closing_; });
    if (!busy_) return;
    lock.unlock();
    std::string error;
    try {
      error = try_to_write();
    } catch (const std::exception& e) {
      error = e.what();
    }
    lock.lock();
    last_error_ = std::move(error);
    busy_ = false;
    changed_.notify_all();
  }
}

void CheckpointWriter::together(const std::function<void()>& part) {
  std::string reason;
  try {
    part();
  } catch (const std::exception& e) {
    reason = e.what();
  }
  for (const std::string& other : ranks_->gather_texts(reason))
    if (!other.empty()) fail_io("{}", other);
}

void CheckpointWriter::on_root(const std::function<void()>& part) {
  together([&] {
    if (ranks_->is_root()) part();
  });
}

std::string CheckpointWriter::try_to_write() {
  std::string reason;
  for (int attempt = 1; attempt <= options_.attempts; ++attempt) {
    if (attempt > 1)
      std::this_thread::sleep_for(std::chrono::duration<double>(options_.retry_seconds));
    try {
      write_once();
      on_root([&] { prune(options_.retention.keep); });
      return "";
    } catch (const std::exception& e) {
      reason = fmt::format("the checkpoint of step {} was not saved: {}", state_.step, e.what());
    }
    if (!ranks_->is_root()) continue;
    std::error_code ignored;
    fs::remove_all(temporary_folder(folder_ / checkpoint_name(state_.step)), ignored);
    // On a full disk the oldest one goes before this save instead of after it.
    const bool full = fs::space(folder_, ignored).available < staging_bytes(table_);
    const int64_t keep = options_.retention.keep;
    if (full && keep > 0) prune(std::max<int64_t>(1, keep - 1));
    options_.warn(fmt::format("{} (attempt {} of {})", reason, attempt, options_.attempts));
  }
  return reason;
}

void CheckpointWriter::write_once() {
  const auto start = std::chrono::steady_clock::now();
  const fs::path folder = folder_ / checkpoint_name(state_.step);
  const fs::path temporary = temporary_folder(folder);
  on_root([&] {
    std::error_code error;
    fs::remove_all(temporary, error);
    if (!fs::create_directory(temporary, error))
      fail_io("cannot create folder {}: {}", temporary.string(), error.message());
  });
  ManifestFile mine;
  together([&] {
    write_shard(temporary, table_, sharding_, {&parameters_, &first_moments_, &second_moments_});
    const std::string name = shard_name(sharding_.rank());
    begin_sync(temporary / name);
    mine = measure_file(temporary, name);
    sync_path(temporary / name);
  });
  const std::vector<int64_t> bytes = ranks_->gather(static_cast<int64_t>(mine.bytes));
  const std::vector<int64_t> hashes = ranks_->gather(static_cast<int64_t>(mine.hash));
  std::vector<ManifestFile> shards;
  for (size_t rank = 0; rank < bytes.size(); ++rank)
    shards.push_back({shard_name(static_cast<int64_t>(rank)), static_cast<uint64_t>(bytes[rank]),
                      static_cast<uint64_t>(hashes[rank])});
  on_root([&] {
    const uint64_t all_bytes = fill(temporary, shards);
    commit_folder(temporary, folder);
    write_file_atomically(folder_ / "latest", folder.filename().string() + "\n");
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    options_.saved({state_.step, all_bytes, taken.count()});
  });
}

/// What is no rank's share, and the manifest.
uint64_t CheckpointWriter::fill(const fs::path& folder, std::vector<ManifestFile> shards) {
  write_virtual(folder, table_, sharding_);
  write_file_atomically(folder / "state.json", train_state_json(state_));
  write_file_atomically(folder / "config.toml", state_.config);
  if (!options_.tokenizer.empty())
    write_file_atomically(folder / "tokenizer.json", options_.tokenizer);
  Manifest manifest;
  manifest.step = state_.step;
  manifest.sequence = 1;
  for (const CheckpointEntry& entry : list_checkpoints(options_.run))
    if (entry.manifest)
      manifest.sequence = std::max(manifest.sequence, entry.manifest->sequence + 1);
  manifest.ranks = static_cast<int64_t>(shards.size());
  manifest.files = std::move(shards);
  for (const char* name : {"checkpoint.h5", "state.json", "config.toml", "tokenizer.json"})
    if (fs::exists(folder / name)) manifest.files.push_back(measure_file(folder, name));
  std::sort(manifest.files.begin(), manifest.files.end(),
            [](const ManifestFile& a, const ManifestFile& b) { return a.name < b.name; });
  write_manifest(folder, manifest);
  return std::accumulate(manifest.files.begin(), manifest.files.end(), uint64_t{0},
                         [](uint64_t sum, const ManifestFile& file) { return sum + file.bytes; });
}

/// Removes all but the newest `keep` and those that stay for another reason. What has no readable
/// manifest is left to its owner; and before a good one goes, one that stays is proven good.
void CheckpointWriter::prune(int64_t keep) {
  if (keep == 0) return;
  const Retention& retention = options_.retention;
  std::vector<fs::path> superfluous;
  bool one_is_good = false, one_is_behind = retention.behind == 0;
  for (const CheckpointEntry& entry : list_checkpoints(options_.run)) {
    if (!entry.manifest) continue;
    const bool behind = entry.step <= state_.step - retention.behind;
    if (keep > 0) {
      --keep;
      one_is_behind |= behind;
      if (one_is_good) continue;
      try {
        verify_files(entry.folder, *entry.manifest);
        one_is_good = true;
      } catch (const UserError&) {
        ++keep;  // damaged: it does not count
      }
    } else if (behind && !one_is_behind) {
      one_is_behind = true;
    } else if (!retention.for_ever(entry.step)) {
      superfluous.push_back(entry.folder);
    }
  }
  if (!one_is_good) return;
  for (const fs::path& folder : superfluous) remove_checkpoint(folder);
}

}  // namespace isoflop
