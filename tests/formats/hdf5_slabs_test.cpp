// Slabs as h5py and others write them: every integer type, filter and chunk shape, against the
// numbers that went in.
#include "formats/hdf5_slabs.hpp"

#include "core/error.hpp"
#include "tests/support/folder_test.hpp"

#include <hdf5.h>

#include <array>
#include <limits>
#include <vector>

namespace isoflop::hdf5 {
namespace {

constexpr hsize_t kDims[] = {5, 3, 11};
constexpr size_t kSlab = 33;

struct Layout {
  hid_t type;
  std::array<hsize_t, 3> chunk;  // 0: in one piece
  bool shuffle, deflate, checksum;
};

class SlabTest : public FolderTest {
 protected:
  std::string write_slabs(const Layout& layout, const std::vector<int64_t>& numbers) const {
    const std::string name = path("slabs.h5").string();
    const hid_t file = H5Fcreate(name.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t space = H5Screate_simple(3, kDims, nullptr);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    if (layout.chunk[0]) H5Pset_chunk(properties, 3, layout.chunk.data());
    if (layout.shuffle) H5Pset_shuffle(properties);
    if (layout.deflate) H5Pset_deflate(properties, 6);
    if (layout.checksum) H5Pset_fletcher32(properties);
    const hid_t data =
        H5Dcreate2(file, "data", layout.type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    H5Dwrite(data, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers.data());
    H5Dclose(data);
    H5Pclose(properties);
    H5Sclose(space);
    H5Fclose(file);
    return name;
  }
};

TEST_F(SlabTest, EveryTypeFilterAndChunkShape) {
  const std::array<hsize_t, 3> chunks[] = {{0, 0, 0}, {1, 3, 11}, {2, 2, 4}, {5, 1, 11}, {4, 3, 7}};
  const hid_t types[] = {H5T_STD_U8LE,  H5T_STD_I8LE,  H5T_STD_U16BE, H5T_STD_I16LE,
                         H5T_STD_I32BE, H5T_STD_U32LE, H5T_STD_I64LE, H5T_STD_I64BE};
  std::vector<int64_t> numbers;
  for (int64_t i = 0; i < 5 * 33; ++i) numbers.push_back(i * 37 % 127);
  for (const hid_t type : types)
    for (const auto& chunk : chunks)
      for (int filters = 0; filters < (chunk[0] ? 8 : 1); ++filters) {
        const SlabReader reader(
            write_slabs({type, chunk, (filters & 1) != 0, (filters & 2) != 0, (filters & 4) != 0},
                        numbers),
            "data");
        std::vector<int32_t> slab(kSlab);
        for (const uint64_t index : {4, 0, 2, 3, 1}) {
          reader.read(index, slab);
          for (size_t i = 0; i < kSlab; ++i)
            ASSERT_EQ(slab[i], numbers[index * kSlab + i]) << chunk[0] << " " << filters;
        }
      }
}

TEST_F(SlabTest, WhatInt32CannotHoldBecomesItsEnds) {
  std::vector<int64_t> numbers(5 * 33, -3);
  numbers[0] = std::numeric_limits<int64_t>::max();
  numbers[1] = std::numeric_limits<int64_t>::min();
  for (const hsize_t chunk : {0, 1}) {
    const SlabReader reader(
        write_slabs({H5T_STD_I64LE, {chunk, 3, 11}, false, chunk != 0, false}, numbers), "data");
    std::vector<int32_t> slab(kSlab);
    reader.read(0, slab);
    EXPECT_EQ(slab[0], std::numeric_limits<int32_t>::max());
    EXPECT_EQ(slab[1], std::numeric_limits<int32_t>::min());
    EXPECT_EQ(slab[2], -3);
  }
}

TEST_F(SlabTest, ChunksThatInflateToAnotherSizeAreNamed) {
  const std::string file =
      write_slabs({H5T_STD_I32LE, {1, 3, 11}, false, true, false}, std::vector<int64_t>(5 * 33, 7));
  const hid_t handle = H5Fopen(file.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  const hid_t data = H5Dopen2(handle, "data", H5P_DEFAULT);
  const hsize_t at[] = {2, 0, 0};
  const unsigned char empty[] = {0x78, 0x9c, 3, 0, 0, 0, 0, 1};  // nothing, deflated
  H5Dwrite_chunk(data, H5P_DEFAULT, 0, at, sizeof(empty), empty);
  H5Dclose(data);
  H5Fclose(handle);
  const SlabReader reader(file, "data");
  std::vector<int32_t> slab(kSlab);
  reader.read(1, slab);
  EXPECT_EQ(message_of([&] { reader.read(2, slab); }),
            file + ": data: the chunk at 2,0,0 is damaged");
  reader.read(3, slab);
}

}  // namespace
}  // namespace isoflop::hdf5
