#include "pretrain/checkpoint/tensors.hpp"

#include "formats/hdf5.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <vector>

namespace isoflop {

namespace {

constexpr const char* kVirtualName = "checkpoint.h5";

struct Kind {
  const char* group;
  ParamBuffer* buffer;
  bool second_moments = false;

  bool has(const ParamSpec& spec) const { return !second_moments || spec.has_second_moment(); }
};

std::array<Kind, 3> kinds_of(const CheckpointTensors& t) {
  return {{{"/parameters", t.parameters},
           {"/optimizer/m", t.first_moments},
           {"/optimizer/v", t.second_moments, true}}};
}

std::string dataset_name(const Kind& kind, const ParamSpec& spec) {
  return std::string(kind.group) + "/" + spec.name;
}

std::vector<uint64_t> shape_of(const ParamSpec& spec) {
  const auto rows = static_cast<uint64_t>(spec.rows), cols = static_cast<uint64_t>(spec.cols);
  if (spec.is_vector() && spec.rows == 1) return {cols};
  return {rows, cols};
}

std::string text_of(std::span<const uint64_t> shape) {
  return fmt::format("{}", fmt::join(shape, "x"));
}

std::span<float> values_of(const View& view) {
  ISOFLOP_CHECK(view.contiguous(), "a stored tensor is one piece");
  return {view.as<float>(), static_cast<size_t>(view.size())};
}

/// What one rank has of a tensor, in steps along the first dimension (of a vector, elements): which
/// of the whole's they are, and the columns that they have.
struct Piece {
  std::vector<RowRun> runs;
  int64_t rows = 0, first_col = 0, cols = 0;
};

/// Of our part of a tensor, the rows that we own. A vector is owned whole or not at all.
Piece owned_piece(const ParamTable& table, const Sharding& sharding, size_t param, int rank) {
  const TensorCut cut = sharding.cut(table, param, rank);
  const RowRange owned = sharding.rows(param, rank);
  const RowRange rows = table[param].is_vector() ? RowRange{0, cut.rows} : owned;
  Piece piece = {{}, owned.count > 0 ? rows.count : 0, cut.first_col, cut.cols};
  for (const RowRun& run : cut.runs) {
    const int64_t first = std::max(run.first, rows.first);
    const int64_t end = std::min(run.first + run.count, rows.first + rows.count);
    if (first < end && owned.count > 0)
      piece.runs.push_back({first - rows.first, run.whole + first - run.first, end - first});
  }
  return piece;
}

Piece whole_part(const ParamTable& table, const Sharding& sharding, size_t param) {
  const TensorCut cut = sharding.cut(table, param);
  return {cut.runs, cut.rows, cut.first_col, cut.cols};
}

std::vector<uint64_t> shape_of(const Piece& piece, const ParamSpec& spec) {
  const auto rows = static_cast<uint64_t>(piece.rows), cols = static_cast<uint64_t>(piece.cols);
  return shape_of(spec).size() == 1 ? std::vector{rows} : std::vector{rows, cols};
}

/// Rows [first, first + count) x columns of a whole tensor.
struct Rectangle {
  int64_t first = 0, count = 0, first_col = 0, cols = 0;

  int64_t size() const { return count * cols; }
  bool meets(const Rectangle& other) const {
    return first < other.first + other.count && other.first < first + count &&
           first_col < other.first_col + other.cols && other.first_col < first_col + cols;
  }
};

/// What was found of a tensor so far.
class Coverage {
 public:
  void add(const Rectangle& r) { found_.push_back(r); }
  /// Elements, or nothing when some were there twice.
  std::optional<int64_t> elements() {
    std::sort(found_.begin(), found_.end(),
              [](const Rectangle& a, const Rectangle& b) { return a.first < b.first; });
    int64_t sum = 0;
    for (size_t i = 0; i < found_.size(); ++i) {
      sum += found_[i].size();
      for (size_t k = i + 1;
           k < found_.size() && found_[k].first < found_[i].first + found_[i].count; ++k)
        if (found_[i].meets(found_[k])) return std::nullopt;
    }
    return sum;
  }

 private:
  std::vector<Rectangle> found_;
};

/// A dataset of a rank's file, checked against the tensor that it is a piece of.
Piece stored_piece(const hdf5::File& file, const std::string& name, const ParamSpec& spec) {
  const auto refuse = [&](const std::string& what) {
    fail_format("{}: {} {}", file.path().string(), name, what);
  };
  const std::vector<uint64_t> whole = shape_of(spec);
  const std::vector<uint64_t> stored_whole = file.u64s_attribute(name, "global_shape");
  if (stored_whole != whole)
    refuse(fmt::format("is {}, the model's is {}; was the checkpoint made with another config?",
                       text_of(stored_whole), text_of(whole)));
  const hdf5::DatasetInfo info = file.info(name);
  if (info.type != hdf5::Type::f32)
    refuse(fmt::format("holds {}, expected f32", hdf5::name_of(info.type)));
  const std::vector<uint64_t> offset = file.u64s_attribute(name, "offset");
  if (offset.size() != whole.size() || info.shape.size() != whole.size())
    refuse("has another number of dimensions than its global_shape");
  const uint64_t rows = info.shape[0];
  std::vector<uint64_t> runs = {offset[0], rows};
  if (file.has_attribute(name, "runs")) runs = file.u64s_attribute(name, "runs");
  const bool matrix = whole.size() == 2;
  if (matrix && (offset[1] > whole[1] || info.shape[1] > whole[1] - offset[1]))
    refuse(fmt::format("covers columns {}+{} of {}", offset[1], info.shape[1], whole[1]));
  Piece piece = {{},
                 static_cast<int64_t>(rows),
                 matrix ? static_cast<int64_t>(offset[1]) : 0,
                 matrix ? static_cast<int64_t>(info.shape[1]) : 1};
  uint64_t left = rows;
  for (size_t i = 0; i + 1 < runs.size(); i += 2) {
    if (runs[i] > whole[0] || runs[i + 1] > whole[0] - runs[i] || runs[i + 1] > left)
      refuse(fmt::format("covers rows {}+{} of {}, {} of which are left", runs[i], runs[i + 1],
                         whole[0], left));
    piece.runs.push_back({static_cast<int64_t>(rows - left), static_cast<int64_t>(runs[i]),
                          static_cast<int64_t>(runs[i + 1])});
    left -= runs[i + 1];
  }
  if (left != 0 || runs.size() % 2 != 0) refuse("does not say which rows it holds");
  return piece;
}

/// What a dataset has of the rows and columns that we want, into place.
void read_piece(const hdf5::File& file,
                const std::string& name,
                const ParamSpec& spec,
                const Piece& want,
                std::span<float> into,
                Coverage& covered) {
  const Piece stored = stored_piece(file, name, spec);
  const auto cols = static_cast<size_t>(stored.cols);
  const int64_t first_col = std::max(stored.first_col, want.first_col);
  const int64_t end_col = std::min(stored.first_col + stored.cols, want.first_col + want.cols);
  if (first_col >= end_col) return;
  std::vector<float> rows;
  for (const RowRun& there : stored.runs)
    for (const RowRun& here : want.runs) {
      const int64_t first = std::max(there.whole, here.whole);
      const int64_t count = std::min(there.whole + there.count, here.whole + here.count) - first;
      if (count <= 0) continue;
      covered.add({first, count, first_col, end_col - first_col});
      const auto source = static_cast<uint64_t>(there.first + first - there.whole);
      float* const to = &into[static_cast<size_t>((here.first + first - here.whole) * want.cols)];
      if (stored.first_col == want.first_col && stored.cols == want.cols) {
        file.read_rows<float>(name, source, std::span(to, static_cast<size_t>(count) * cols));
        continue;
      }
      rows.resize(static_cast<size_t>(count) * cols);
      file.read_rows<float>(name, source, rows);
      for (int64_t row = 0; row < count; ++row)
        std::copy_n(&rows[static_cast<size_t>(row) * cols +
                          static_cast<size_t>(first_col - stored.first_col)],
                    end_col - first_col, to + row * want.cols + first_col - want.first_col);
    }
}

}  // namespace

void write_shard(const fs::path& folder,
                 const ParamTable& table,
                 const Sharding& sharding,
                 const CheckpointTensors& from) {
  const fs::path path = folder / shard_name(sharding.rank());
  hdf5::File file = hdf5::File::create(path);
  for (const Kind& kind : kinds_of(from)) {
    for (size_t i = 0; i < table.size(); ++i) {
      const int rank = sharding.rank();
      if (!sharding.stands_for(i, rank) || !kind.has(table[i])) continue;
      const Piece piece = owned_piece(table, sharding, i, rank);
      if (piece.rows == 0) continue;
      const std::string name = dataset_name(kind, table[i]);
      const std::vector<uint64_t> whole = shape_of(table[i]);
      std::vector<uint64_t> offset(whole.size(), static_cast<uint64_t>(piece.first_col)), runs;
      offset[0] = static_cast<uint64_t>(piece.runs[0].whole);
      for (const RowRun& run : piece.runs) {
        runs.push_back(static_cast<uint64_t>(run.whole));
        runs.push_back(static_cast<uint64_t>(run.count));
      }
      file.write_dataset<float>(name, shape_of(piece, table[i]), values_of((*kind.buffer)[i]));
      file.set_attribute(name, "global_shape", std::span<const uint64_t>(whole));
      file.set_attribute(name, "offset", std::span<const uint64_t>(offset));
      if (piece.runs.size() > 1) file.set_attribute(name, "runs", std::span<const uint64_t>(runs));
      begin_sync(path);  // the disk works while the next one is copied
    }
  }
  if (!file.exists("/parameters")) file.create_group("/parameters");  // a rank may own nothing
  file.close();
}

void write_virtual(const fs::path& folder, const ParamTable& table, const Sharding& sharding) {
  hdf5::File file = hdf5::File::create(folder / kVirtualName);
  for (const Kind& kind : kinds_of({})) {
    for (size_t i = 0; i < table.size(); ++i) {
      if (!kind.has(table[i])) continue;
      const std::string name = dataset_name(kind, table[i]);
      std::vector<hdf5::VirtualPiece> pieces;
      for (int rank = 0; rank < sharding.ranks(); ++rank) {
        if (!sharding.stands_for(i, rank)) continue;
        const Piece piece = owned_piece(table, sharding, i, rank);
        for (const RowRun& run : piece.runs)
          pieces.push_back({shard_name(rank), name, shape_of(piece, table[i]),
                            static_cast<uint64_t>(run.first), static_cast<uint64_t>(run.count),
                            static_cast<uint64_t>(run.whole),
                            static_cast<uint64_t>(piece.first_col)});
      }
      file.create_virtual_dataset(name, hdf5::Type::f32, shape_of(table[i]), pieces);
    }
  }
  file.close();
  sync_path(folder / kVirtualName);
}

void read_tensors(const fs::path& folder,
                  const Manifest& manifest,
                  const ParamTable& table,
                  const CheckpointTensors& into,
                  const Sharding& moments) {
  const std::array<Kind, 3> kinds = kinds_of(into);
  std::vector<std::array<Coverage, 3>> covered(table.size());
  const auto wanted = [&](size_t i, size_t k) {
    return k == 0 ? whole_part(table, moments, i) : owned_piece(table, moments, i, moments.rank());
  };
  for (int64_t rank = 0; rank < manifest.ranks; ++rank) {
    const hdf5::File file = hdf5::File::open(folder / shard_name(rank));
    for (const std::string& name : file.children("/parameters"))
      if (find_param(table, name) < 0)
        fail_format(
            "{}: parameter {} is not in the model; was the checkpoint made with another config?",
            file.path().string(), name);
    for (size_t i = 0; i < table.size(); ++i) {
      for (size_t k = 0; k < kinds.size(); ++k) {
        if (!kinds[k].buffer || !(*kinds[k].buffer)[i]) continue;
        const std::string name = dataset_name(kinds[k], table[i]);
        if (file.exists(name))
          read_piece(file, name, table[i], wanted(i, k), values_of((*kinds[k].buffer)[i]),
                     covered[i][k]);
      }
    }
  }
  for (size_t i = 0; i < table.size(); ++i)
    for (size_t k = 0; k < kinds.size(); ++k) {
      if (!kinds[k].buffer || !(*kinds[k].buffer)[i]) continue;
      const Piece want = wanted(i, k);
      const std::optional<int64_t> found = covered[i][k].elements();
      if (!found || *found != want.rows * want.cols)
        fail_format("{}: {} is {}", folder.string(), dataset_name(kinds[k], table[i]),
                    found ? fmt::format("missing or incomplete ({} of {} elements)", *found,
                                        want.rows * want.cols)
                          : "in several files at once");
    }
}

}  // namespace isoflop
