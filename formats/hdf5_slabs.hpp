// Slabs of a three-dimensional integer dataset in a file of another program, which may be in chunks
// and packed by deflate: what h5py writes. Everything else (other filters, external or virtual
// storage, links) is refused, and so is a shape that the size of the file cannot account for.
//
// The HDF5 library itself is not safe against a file made to break it, and such files carry no
// hash; read only files whose origin you trust. What we read is converted once, not used in
// training.
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

namespace isoflop::hdf5 {

class SlabReader {
 public:
  /// FormatError naming file and dataset when it cannot be read as described above.
  SlabReader(const std::filesystem::path& path, const std::string& dataset);
  ~SlabReader();

  /// Whether the file has a dataset of that name with three dimensions; false for what is no HDF5.
  static bool has_slabs(const std::filesystem::path& path, const std::string& dataset);

  const std::array<uint64_t, 3>& shape() const { return shape_; }
  /// Slab `index` along the first dimension: shape()[1] * shape()[2] numbers; those that int32
  /// cannot hold become its ends.
  void read(uint64_t index, std::span<int32_t> out) const;

 private:
  struct State;
  void read_contiguous(uint64_t index, std::span<int32_t> out) const;

  std::string name_;
  std::array<uint64_t, 3> shape_ = {};
  std::unique_ptr<State> state_;
};

}  // namespace isoflop::hdf5
