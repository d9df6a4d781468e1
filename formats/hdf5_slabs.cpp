#include "formats/hdf5_slabs.hpp"

#include "core/math.hpp"
#include "formats/hdf5_internal.hpp"

#include <fmt/ranges.h>
#include <zlib.h>

#include <limits>
#include <vector>

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

using Shape = std::array<hsize_t, 3>;

// How the library would read the integers and chunks; we do it, see read_chunk.
struct Storage {
  size_t width = 0;  // bytes of an integer: 1, 2, 4 or 8
  bool is_signed = false, big_endian = false;
  bool chunked = false;
  Shape chunk = {1, 1, 1};
  std::vector<H5Z_filter_t> filters;  // in the order in which they were applied

  uint64_t chunk_bytes() const { return chunk[0] * chunk[1] * chunk[2] * width; }
};

// FormatError naming what is wrong with the way a dataset is stored.
Storage read_storage(hid_t dataset, hid_t type, const std::string& name) {
  Storage storage;
  storage.width = H5Tget_size(type);
  storage.is_signed = H5Tget_sign(type) == H5T_SGN_2;
  storage.big_endian = H5Tget_order(type) == H5T_ORDER_BE;
  if (!std::has_single_bit(storage.width) || storage.width > sizeof(int64_t))
    fail_format("{} holds integers of {} bytes", name, storage.width);
  const Handle properties(H5Dget_create_plist(dataset), H5Pclose);
  const H5D_layout_t layout = H5Pget_layout(properties);
  if (layout != H5D_CHUNKED && layout != H5D_CONTIGUOUS)
    fail_format("{} is neither in one piece nor in chunks", name);
  if (H5Pget_external_count(properties) != 0) fail_format("{} is stored in other files", name);
  for (int i = 0; i < H5Pget_nfilters(properties); ++i) {
    unsigned flags = 0;
    size_t values = 0;
    const H5Z_filter_t filter = H5Pget_filter2(properties, static_cast<unsigned>(i), &flags,
                                               &values, nullptr, 0, nullptr, nullptr);
    if (filter != H5Z_FILTER_DEFLATE && filter != H5Z_FILTER_SHUFFLE &&
        filter != H5Z_FILTER_FLETCHER32)
      fail_format("{} is packed by filter {}; gzip is read", name, static_cast<int>(filter));
    storage.filters.push_back(filter);
  }
  storage.chunked = layout == H5D_CHUNKED;
  if (storage.chunked && H5Pget_chunk(properties, 3, storage.chunk.data()) != 3)
    fail_format("{} has odd chunks", name);
  uint64_t bytes = sizeof(int64_t);
  for (const hsize_t size : storage.chunk)
    if (!checked_multiply(bytes, size, bytes) || bytes == 0 || bytes > kMostSlabBytes)
      fail_format("{} has chunks of more than 256 MB", name);
  return storage;
}

// Inflates to exactly `size` bytes; false when the data holds more or less, or is damaged.
bool inflate_exactly(std::span<const std::byte> packed, size_t size, std::vector<std::byte>& out) {
  out.resize(size);
  uLongf got = size;
  const int result = ::uncompress(reinterpret_cast<Bytef*>(out.data()), &got,
                                  reinterpret_cast<const Bytef*>(packed.data()), packed.size());
  return result == Z_OK && got == size;
}

// The shuffle filter put the first bytes of all integers first, then the second ones...
std::vector<std::byte> unshuffle(const std::vector<std::byte>& bytes, size_t width) {
  std::vector<std::byte> out(bytes.size());
  const size_t count = bytes.size() / width;
  for (size_t i = 0; i < count; ++i)
    for (size_t b = 0; b < width; ++b) out[i * width + b] = bytes[b * count + i];
  return out;
}

int32_t narrow(const std::byte* at, const Storage& storage) {
  uint64_t bits = 0;
  for (size_t b = 0; b < storage.width; ++b) {
    const size_t place = storage.big_endian ? storage.width - 1 - b : b;
    bits |= std::to_integer<uint64_t>(at[place]) << 8 * b;
  }
  constexpr int64_t kLeast = std::numeric_limits<int32_t>::min();
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  if (!storage.is_signed) return static_cast<int32_t>(std::min<uint64_t>(bits, kMost));
  const size_t unused = 64 - 8 * storage.width;
  const int64_t value = static_cast<int64_t>(bits << unused) >> unused;
  return static_cast<int32_t>(std::clamp(value, kLeast, kMost));
}

}  // namespace

struct SlabReader::State {
  Handle file, dataset;
  uint64_t file_bytes = 0;
  Storage storage = {};
  Shape at = {~hsize_t{0}, 0, 0};  // where the chunk below starts
  std::vector<std::byte> chunk = {};

  void read_chunk(const Shape& start, const std::string& name);
};

// The library trusts that a chunk inflates to its size and reads past what is too short, so chunks
// are taken as they lie in the file and unpacked here.
void SlabReader::State::read_chunk(const Shape& start, const std::string& name) {
  if (start == at) return;
  hsize_t stored = 0;
  if (H5Dget_chunk_storage_size(dataset, start.data(), &stored) < 0 || stored == 0 ||
      stored > file_bytes)
    fail_format("{}: the chunk at {} is missing: {}", name, fmt::join(start, ","), library_error());
  uint32_t skipped = 0;
  chunk.resize(stored);
  if (H5Dread_chunk(dataset, H5P_DEFAULT, start.data(), &skipped, chunk.data()) < 0)
    fail_format("{}: the chunk at {} cannot be read: {}", name, fmt::join(start, ","),
                library_error());
  bool whole = true;
  for (size_t i = storage.filters.size(); whole && i-- > 0;) {
    if (skipped >> i & 1) continue;
    if (storage.filters[i] == H5Z_FILTER_FLETCHER32) {
      whole = chunk.size() >= 4;
      if (whole) chunk.resize(chunk.size() - 4);  // deflate has a checksum of its own
    } else if (storage.filters[i] == H5Z_FILTER_DEFLATE) {
      std::vector<std::byte> unpacked;
      whole = inflate_exactly(chunk, storage.chunk_bytes(), unpacked);
      chunk = std::move(unpacked);
    } else {
      chunk = unshuffle(chunk, storage.width);
    }
  }
  at = start;
  if (!whole || chunk.size() != storage.chunk_bytes()) {
    at = {~hsize_t{0}, 0, 0};
    fail_format("{}: the chunk at {} is damaged", name, fmt::join(start, ","));
  }
}

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
  Storage storage = read_storage(handle, type, name_);
  std::copy_n(dims, 3, shape_.begin());
  uint64_t slab = 0, bytes = 0;
  const uint64_t file_bytes = std::filesystem::file_size(path);
  if (!checked_multiply(shape_[1], shape_[2], slab) || slab == 0 ||
      !checked_multiply(slab, sizeof(int64_t), bytes) || bytes > kMostSlabBytes ||
      !checked_multiply(bytes / 2, shape_[0], bytes) || bytes / kMostPackedRatio > file_bytes)
    fail_format("{} has the shape {} x {} x {}, which a file of {} bytes cannot hold", name_,
                shape_[0], shape_[1], shape_[2], file_bytes);
  state_ = std::unique_ptr<State>(
      new State{std::move(file), std::move(handle), file_bytes, std::move(storage)});
}

SlabReader::~SlabReader() {
  const Lock lock;
  state_.reset();
}

void SlabReader::read(uint64_t index, std::span<int32_t> out) const {
  ISOFLOP_CHECK(index < shape_[0] && out.size() == shape_[1] * shape_[2], "slab {} of {}", index,
                name_);
  const Lock lock;
  if (!state_->storage.chunked) return read_contiguous(index, out);
  const Shape& chunk = state_->storage.chunk;
  for (uint64_t row = 0; row < shape_[1]; ++row)
    for (uint64_t col = 0; col < shape_[2];) {
      const Shape place = {index % chunk[0], row % chunk[1], col % chunk[2]};
      state_->read_chunk({index - place[0], row - place[1], col - place[2]}, name_);
      const uint64_t count = std::min<uint64_t>(chunk[2] - place[2], shape_[2] - col);
      const uint64_t first = (place[0] * chunk[1] + place[1]) * chunk[2] + place[2];
      const std::byte* from = state_->chunk.data() + first * state_->storage.width;
      for (uint64_t i = 0; i < count; ++i, ++col, from += state_->storage.width)
        out[row * shape_[2] + col] = narrow(from, state_->storage);
    }
}

void SlabReader::read_contiguous(uint64_t index, std::span<int32_t> out) const {
  const hsize_t start[3] = {index, 0, 0}, count[3] = {1, shape_[1], shape_[2]};
  const Handle space(H5Dget_space(state_->dataset), H5Sclose);
  const Handle memory(H5Screate_simple(3, count, nullptr), H5Sclose);
  if (space < 0 || memory < 0 ||
      H5Sselect_hyperslab(space, H5S_SELECT_SET, start, nullptr, count, nullptr) < 0 ||
      H5Dread(state_->dataset, H5T_NATIVE_INT32, memory, space, H5P_DEFAULT, out.data()) < 0)
    fail_format("{}: entry {} cannot be read: {}", name_, index, library_error());
}

}  // namespace isoflop::hdf5
