#include "formats/hdf5_slabs.hpp"

#include "core/math.hpp"
#include "formats/hdf5_internal.hpp"

namespace isoflop::hdf5 {

namespace {

constexpr uint64_t kMostSlabBytes = 256 << 20;
constexpr uint64_t kMostPackedRatio = 1100;  // deflate's limit is 1032

Handle open_file(const std::filesystem::path& path) {
  const Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_file_locking(access, false, true);
  return Handle(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose);
}

bool is_hard_link(hid_t file, const std::string& dataset) {
  H5L_info_t link = {};
  return H5Lexists(file, dataset.c_str(), H5P_DEFAULT) > 0 &&
         H5Lget_info(file, dataset.c_str(), &link, H5P_DEFAULT) >= 0 && link.type == H5L_TYPE_HARD;
}

// What is wrong with the way a dataset is stored, or nothing.
std::string storage_complaint(hid_t dataset) {
  const Handle properties(H5Dget_create_plist(dataset), H5Pclose);
  const H5D_layout_t layout = H5Pget_layout(properties);
  if (layout != H5D_CHUNKED && layout != H5D_CONTIGUOUS)
    return "is neither in one piece nor in chunks";
  if (H5Pget_external_count(properties) != 0) return "is stored in other files";
  for (int i = 0; i < H5Pget_nfilters(properties); ++i) {
    unsigned flags = 0;
    size_t values = 0;
    const H5Z_filter_t filter = H5Pget_filter2(properties, static_cast<unsigned>(i), &flags,
                                               &values, nullptr, 0, nullptr, nullptr);
    if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE &&
        filter != H5Z_FILTER_FLETCHER32)
      return fmt::format("is packed by filter {}; gzip is read", static_cast<int>(filter));
  }
  hsize_t chunk[3] = {1, 1, 1};
  uint64_t bytes = sizeof(int64_t);
  if (layout == H5D_CHUNKED && H5Pget_chunk(properties, 3, chunk) != 3) return "has odd chunks";
  for (const hsize_t size : chunk)
    if (!checked_multiply(bytes, size, bytes) || bytes > kMostSlabBytes)
      return "has chunks of more than 256 MB";
  return {};
}

}  // namespace

struct SlabReader::State {
  Handle file, dataset;
};

bool SlabReader::has_slabs(const std::filesystem::path& path, const std::string& dataset) {
  if (!File::has_signature(path)) return false;
  const Lock lock;
  const Handle file = open_file(path);
  if (file < 0 || !is_hard_link(file, dataset)) return false;
  const Handle handle(H5Dopen2(file, dataset.c_str(), H5P_DEFAULT), H5Dclose);
  if (handle < 0) return false;
  const Handle space(H5Dget_space(handle), H5Sclose);
  return space >= 0 && H5Sget_simple_extent_ndims(space) == 3;
}

SlabReader::SlabReader(const std::filesystem::path& path, const std::string& dataset)
    : name_(fmt::format("{}: {}", path.string(), dataset)) {
  const Lock lock;
  Handle file = open_file(path);
  if (file < 0)
    fail_format("{} is not an HDF5 file, or is damaged: {}", path.string(), library_error());
  if (!is_hard_link(file, dataset)) fail_format("{} is missing, or is a link", name_);
  Handle handle(H5Dopen2(file, dataset.c_str(), H5P_DEFAULT), H5Dclose);
  if (handle < 0) fail_format("{} cannot be opened: {}", name_, library_error());
  const Handle type(H5Dget_type(handle), H5Tclose), space(H5Dget_space(handle), H5Sclose);
  hsize_t dims[3] = {};
  if (type < 0 || H5Tget_class(type) != H5T_INTEGER || space < 0 ||
      H5Sget_simple_extent_ndims(space) != 3 ||
      H5Sget_simple_extent_dims(space, dims, nullptr) != 3)
    fail_format("{} does not hold integers in three dimensions", name_);
  if (const std::string complaint = storage_complaint(handle); !complaint.empty())
    fail_format("{} {}", name_, complaint);
  std::copy_n(dims, 3, shape_.begin());
  uint64_t slab = 0, bytes = 0;
  const uint64_t file_bytes = std::filesystem::file_size(path);
  if (!checked_multiply(shape_[1], shape_[2], slab) || slab == 0 ||
      !checked_multiply(slab, sizeof(int64_t), bytes) || bytes > kMostSlabBytes ||
      !checked_multiply(bytes / 2, shape_[0], bytes) || bytes / kMostPackedRatio > file_bytes)
    fail_format("{} has the shape {} x {} x {}, which a file of {} bytes cannot hold", name_,
                shape_[0], shape_[1], shape_[2], file_bytes);
  state_ = std::unique_ptr<State>(new State{std::move(file), std::move(handle)});
}

SlabReader::~SlabReader() {
  const Lock lock;
  state_.reset();
}

void SlabReader::read(uint64_t index, std::span<int32_t> out) const {
  ISOFLOP_CHECK(index < shape_[0] && out.size() == shape_[1] * shape_[2], "slab {} of {}", index,
                name_);
  const Lock lock;
  const hsize_t start[3] = {index, 0, 0}, count[3] = {1, shape_[1], shape_[2]};
  const Handle space(H5Dget_space(state_->dataset), H5Sclose);
  const Handle memory(H5Screate_simple(3, count, nullptr), H5Sclose);
  if (space < 0 || memory < 0 ||
      H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, count, nullptr) < 0 ||
      H5Dread(state_->dataset, H5T_NATIVE_INT32, memory, space, H5P_DEFAULT, out.data()) < 0)
    fail_format("{}: entry {} cannot be read: {}", name_, index, library_error());
}

}  // namespace isoflop::hdf5
