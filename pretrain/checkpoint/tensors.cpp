#include "pretrain/checkpoint/tensors.hpp"

#include "formats/hdf5.hpp"

#include <fmt/format.h>

#include <span>
#include <vector>

namespace isoflop {

namespace {

constexpr const char* kVirtualName = "checkpoint.h5";

struct Kind {
  const char* group;
  ParamBuffer* buffer;
};

std::array<Kind, 3> kinds_of(const CheckpointTensors& t) {
  return {{{"/parameters", t.parameters},
           {"/optimizer/m", t.first_moments},
           {"/optimizer/v", t.second_moments}}};
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

void write_shard(const fs::path& folder, const ParamTable& table, const CheckpointTensors& from) {
  hdf5::File file = hdf5::File::create(folder / shard_name(0));
  for (const Kind& kind : kinds_of(from)) {
    for (size_t i = 0; i < table.size(); ++i) {
      const std::string name = dataset_name(kind, table[i]);
      const std::vector<uint64_t> shape = shape_of(table[i]), offset(shape.size(), 0);
      file.write_dataset<float>(name, shape, values_of((*kind.buffer)[i]));
      file.set_attribute(name, "global_shape", std::span<const uint64_t>(shape));
      file.set_attribute(name, "offset", std::span<const uint64_t>(offset));
    }
  }
  file.close();
}

void write_virtual(const fs::path& folder, const ParamTable& table, const CheckpointTensors& from) {
  hdf5::File file = hdf5::File::create(folder / kVirtualName);
  for (const Kind& kind : kinds_of(from)) {
    for (const ParamSpec& spec : table) {
      const std::string name = dataset_name(kind, spec);
      const std::vector<uint64_t> shape = shape_of(spec);
      const hdf5::VirtualPiece pieces[] = {{shard_name(0), name, 0, shape}};
      file.create_virtual_dataset(name, hdf5::Type::f32, shape, pieces);
    }
  }
  file.close();
}

/// One rank's rows of one tensor into place; `next_row` is where the ranks before it ended.
void read_piece(const hdf5::File& file,
                const std::string& name,
                const ParamSpec& spec,
                const View& into,
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
  file.read_rows<float>(name, 0, values_of(into).subspan(next_row * row, count * row));
  next_row += count;
}

}  // namespace

void write_tensors(const fs::path& folder, const ParamTable& table, const CheckpointTensors& from) {
  write_shard(folder, table, from);
  sync_path(folder / shard_name(0));
  write_virtual(folder, table, from);
  sync_path(folder / kVirtualName);
}

void read_tensors(const fs::path& folder,
                  const Manifest& manifest,
                  const ParamTable& table,
                  const CheckpointTensors& into) {
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
        if (!kinds[k].buffer) continue;
        const std::string name = dataset_name(kinds[k], table[i]);
        if (file.exists(name))
          read_piece(file, name, table[i], (*kinds[k].buffer)[i], covered[i][k]);
      }
    }
  }
  for (size_t i = 0; i < table.size(); ++i)
    for (size_t k = 0; k < kinds.size(); ++k)
      if (kinds[k].buffer && covered[i][k] != shape_of(table[i])[0])
        fail_format("{}: {} is missing or incomplete ({} of {} rows)", folder.string(),
                    dataset_name(kinds[k], table[i]), covered[i][k], shape_of(table[i])[0]);
}

}  // namespace isoflop
