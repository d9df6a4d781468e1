// Checkpoints of ranks that share matrices: what any grid has written, any other reads, to the bit,
// and the virtual file shows whole tensors.
#include "formats/hdf5.hpp"
#include "tests/pretrain/checkpoint_support.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

ParamTable cut_every_way() {
  using test::param;
  ParamTable table = {param("head.weight", 17, 8, ParamRole::output),
                      param("norm.weight", 1, 8, ParamRole::vector),
                      param("blocks.0.mlp.down.weight", 8, 200, ParamRole::hidden),
                      param("blocks.0.attention.qkv.weight", 1200, 8, ParamRole::hidden),
                      param("blocks.0.attention.qkv.bias", 1, 1200, ParamRole::vector),
                      param("blocks.0.norm1.weight", 1, 8, ParamRole::vector),
                      param("positions.weight", 600, 8, ParamRole::embedding)};
  table[0].placement = Placement::vocabulary;
  table[2].placement = Placement::row;
  table[3].placement = table[4].placement = Placement::column;
  table[3].parts = table[4].parts = {400, 400, 400};
  for (size_t i : {2, 3, 4, 5}) table[i].stage_block = 0;
  table[0].stage_block = table[1].stage_block = 1;
  table[6].stage_block = -1;
  return table;
}

/// The rank's part of each tensor of its stage, and of that the rows it owns.
ParamBuffer part_of(const ParamBuffer& whole, const ParamTable& table, const Sharding& sharding) {
  ParamBuffer part(sharding.part_of_table(table), DType::f32, "a part", sharding.stage_holds());
  for (size_t i = 0; i < table.size(); ++i)
    if (part[i]) take_part(whole[i], part[i], sharding.cut(table, i));
  return part;
}
ParamBuffer share_of(const ParamBuffer& whole, const ParamTable& table, const Sharding& sharding) {
  const ParamBuffer part = part_of(whole, table, sharding);
  ParamBuffer share = sharding.buffer(table, DType::f32, "a share");
  for (size_t i = 0; i < table.size(); ++i) {
    if (!share[i]) continue;
    const View rows = rows_of(part[i], sharding.rows(i));
    std::memcpy(share[i].data, rows.data, rows.bytes());
  }
  return share;
}

class CheckpointParts : public ::testing::Test {
 protected:
  void write(GridShape shape) const {
    for (int rank = 0; rank < shape.ranks(); ++rank) {
      const Sharding sharding(table_, ProcessGrid(shape, rank));
      ParamBuffer p = share_of(parameters_, table_, sharding), m = share_of(m_, table_, sharding),
                  v = share_of(v_, table_, sharding);
      write_shard(folder_.path(), table_, sharding, {&p, &m, &v});
    }
    write_virtual(folder_.path(), table_, Sharding(table_, ProcessGrid(shape, 0)));
  }
  void expect_read(GridShape written, GridShape shape) const {
    for (int rank = 0; rank < shape.ranks(); ++rank) {
      const Sharding sharding(table_, ProcessGrid(shape, rank));
      ParamBuffer p(sharding.part_of_table(table_), DType::f32, "read", sharding.stage_holds());
      ParamBuffer m = sharding.buffer(table_, DType::f32, "read");
      ParamBuffer v = sharding.buffer(table_, DType::f32, "read");
      read_tensors(folder_.path(), {1, 1, written.ranks(), {}}, table_, {&p, &m, &v}, sharding);
      EXPECT_TRUE(test::same_bits(p, part_of(parameters_, table_, sharding)));
      EXPECT_TRUE(test::same_bits(m, share_of(m_, table_, sharding)));
      EXPECT_TRUE(test::same_bits(v, share_of(v_, table_, sharding)));
    }
  }

  test::TempDir folder_;
  ParamTable table_ = cut_every_way();
  ParamBuffer parameters_ = test::filled(table_, 1), m_ = test::filled(table_, 2),
              v_ = test::filled(table_, 3);
};

TEST_F(CheckpointParts, AnyGridReadsWhatAnyOtherWrote) {
  const GridShape shapes[] = {{1, 1, 1}, {1, 2, 1}, {2, 2, 1}, {1, 4, 1},
                              {3, 2, 1}, {2, 1, 2}, {2, 2, 2}};
  for (const GridShape written : shapes) {
    write(written);
    for (const GridShape read : shapes) expect_read(written, read);
    const hdf5::File whole = hdf5::File::open(folder_.path() / "checkpoint.h5");
    for (size_t i = 0; i < table_.size(); ++i) {
      const auto size = static_cast<uint64_t>(table_[i].size());
      const std::vector<float> values =
          whole.read_dataset<float>("/parameters/" + table_[i].name, size);
      ASSERT_EQ(values.size(), size);
      EXPECT_EQ(std::memcmp(values.data(), parameters_[i].data, parameters_[i].bytes()), 0)
          << table_[i].name;
    }
  }
}

TEST_F(CheckpointParts, RunsThatDoNotFitAreRefused) {
  const GridShape shape = {1, 2, 1};
  write(shape);
  for (const std::vector<uint64_t>& runs : {std::vector<uint64_t>{0, 200, 400, 200},
                                            {0, 200, 400, 200, 800},
                                            {0, 200, 1100, 400},
                                            {0, 200, 0, 200, 800, 200},
                                            {0, 200, 400, 200, ~uint64_t{0} - 100, 200}}) {
    write(shape);
    hdf5::File file = hdf5::File::create(folder_.path() / shard_name(1));
    const Sharding sharding(table_, ProcessGrid(shape, 1));
    const ParamBuffer p = share_of(parameters_, table_, sharding);
    const std::string name = "/parameters/" + table_[3].name;
    const uint64_t stored[] = {600, 8}, whole[] = {1200, 8}, offset[] = {200, 0};
    file.write_dataset<float>(name, stored, std::span<const float>(p[3].as<float>(), 600 * 8));
    file.set_attribute(name, "global_shape", std::span<const uint64_t>(whole));
    file.set_attribute(name, "offset", std::span<const uint64_t>(offset));
    file.set_attribute(name, "runs", std::span<const uint64_t>(runs));
    file.close();
    ParamBuffer into(table_, DType::f32, "read");
    EXPECT_THROW(read_tensors(folder_.path(), {1, 1, 2, {}}, table_, {&into, nullptr, nullptr},
                              Sharding(table_)),
                 FormatError);
  }
}

}  // namespace
}  // namespace isoflop
