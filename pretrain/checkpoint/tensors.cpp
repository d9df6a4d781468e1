#include "pretrain/checkpoint/tensors.hpp"

#include "formats/hdf5.hpp"

#include <fmt/format.h>

#include <algorithm>
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

std::vector<uint64_t> shape_of(const ParamSpec& spec, RowRange rows) {
  std::vector<uint64_t> shape = shape_of(spec);
  if (shape.size() > 1) shape[0] = static_cast<uint64_t>(rows.count);  // a vector is never cut
  return shape;
}

/// What one rank has of the rows that we want, into place; `next_row` is where the ranks before it
/// ended. In steps along the first dimension: a vector has as many as elements.
void read_piece(const hdf5::File& file,
                const std::string& name,
                const ParamSpec& spec,
                const View& into,
                RowRange want,
                uint64_t& next_row) {
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
  const uint64_t count = info.shape[0];
  if (offset[0] != next_row || count > whole[0] - next_row)
    refuse(fmt::format("covers rows {}+{} of {}, expected to go on at row {}", offset[0], count,
                       whole[0], next_row));
  if (whole.size() == 2 && (offset[1] != 0 || info.shape[1] != whole[1]))
    refuse("holds parts of rows");
  const auto row = static_cast<size_t>(info.row_elements);
  const uint64_t steps = whole.size() == 1 ? whole[0] : 1;  // of one row
  const uint64_t wanted = static_cast<uint64_t>(want.first) * steps;
  const uint64_t wanted_end = wanted + static_cast<uint64_t>(want.count) * steps;
  const uint64_t first = std::max(next_row, wanted), end = std::min(next_row + count, wanted_end);
  if (first < end)
    file.read_rows<float>(name, first - next_row,
                          values_of(into).subspan((first - wanted) * row, (end - first) * row));
  next_row += count;
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
      const RowRange rows = sharding.rows(i);
      if (rows.count == 0 || !kind.has(table[i])) continue;
      const std::string name = dataset_name(kind, table[i]);
      const std::vector<uint64_t> whole = shape_of(table[i]);
      std::vector<uint64_t> offset(whole.size(), 0);
      offset[0] = static_cast<uint64_t>(rows.first);
      file.write_dataset<float>(name, shape_of(table[i], rows), values_of((*kind.buffer)[i]));
      file.set_attribute(name, "global_shape", std::span<const uint64_t>(whole));
      file.set_attribute(name, "offset", std::span<const uint64_t>(offset));
    }
  }
  if (!file.exists("/parameters")) file.create_group("/parameters");  // a rank may own nothing
  file.close();
  sync_path(path);
}

void write_virtual(const fs::path& folder, const ParamTable& table, const Sharding& sharding) {
  hdf5::File file = hdf5::File::create(folder / kVirtualName);
  for (const Kind& kind : kinds_of({})) {
    for (size_t i = 0; i < table.size(); ++i) {
      if (!kind.has(table[i])) continue;
      const std::string name = dataset_name(kind, table[i]);
      std::vector<hdf5::VirtualPiece> pieces;
      for (int rank = 0; rank < sharding.ranks(); ++rank) {
        const RowRange rows = sharding.rows(i, rank);
        if (rows.count > 0)
          pieces.push_back({shard_name(rank), name, static_cast<uint64_t>(rows.first),
                            shape_of(table[i], rows)});
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
  std::vector<std::array<uint64_t, 3>> covered(table.size(), {0, 0, 0});
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
        const View into_view = (*kinds[k].buffer)[i];
        const RowRange whole = {0, into_view ? table[i].rows : 0};
        const RowRange want = k == 0 ? whole : moments.rows(i);
        if (file.exists(name)) read_piece(file, name, table[i], into_view, want, covered[i][k]);
      }
    }
  }
  for (size_t i = 0; i < table.size(); ++i)
    for (size_t k = 0; k < kinds.size(); ++k)
      if (kinds[k].buffer && (*kinds[k].buffer)[i] && covered[i][k] != shape_of(table[i])[0])
        fail_format("{}: {} is missing or incomplete ({} of {} rows)", folder.string(),
                    dataset_name(kinds[k], table[i]), covered[i][k], shape_of(table[i])[0]);
}

}  // namespace isoflop
