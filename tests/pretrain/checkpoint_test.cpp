#include "pretrain/checkpoint/checkpoint.hpp"

#include "core/error.hpp"
#include "formats/hdf5.hpp"
#include "tests/pretrain/checkpoint_support.hpp"
#include "tests/support/temp_dir.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>

namespace isoflop {
namespace {

using test::expect_snapshot;
using test::names_in;
using test::save_steps;
using test::small_table;
using test::Snapshot;

class CheckpointTest : public testing::Test {
 protected:
  fs::path folder_of(int64_t step) const {
    return checkpoints_folder(run_) / checkpoint_name(step);
  }
  CheckpointRef open(const fs::path& path) { return open_checkpoint(path, warnings_); }

  /// What opening `path` by name says; fails when it does not throw a FormatError.
  std::string complaint(const fs::path& path) {
    try {
      open(path);
    } catch (const FormatError& e) {
      return e.what();
    }
    ADD_FAILURE() << "opened without complaint";
    return "";
  }

  test::TempDir temp_;
  fs::path run_ = temp_.path();
  std::vector<std::string> warnings_;
};

TEST_F(CheckpointTest, RoundTripKeepsEveryBit) {
  save_steps(run_, {1000});
  EXPECT_EQ(names_in(checkpoints_folder(run_)),
            (std::vector<std::string>{"latest", "step-00001000"}));
  EXPECT_EQ(names_in(folder_of(1000)),
            (std::vector<std::string>{"checkpoint.h5", "config.toml", "manifest.json",
                                      "rank-0000.h5", "state.json", "tokenizer.json"}));
  EXPECT_EQ(read_file(checkpoints_folder(run_) / "latest"), "step-00001000\n");
  const CheckpointRef checkpoint = open(run_);
  EXPECT_EQ(checkpoint.step(), 1000);
  expect_snapshot(checkpoint, 1000);
  EXPECT_EQ(read_file(checkpoint.tokenizer()), "{\"model\": {}}");
  EXPECT_TRUE(warnings_.empty());
}

TEST_F(CheckpointTest, EqualContentGivesEqualFiles) {
  save_steps(run_ / "a", {7});
  save_steps(run_ / "b", {7});
  const fs::path a = checkpoints_folder(run_ / "a") / checkpoint_name(7);
  for (const std::string& name : names_in(a))
    EXPECT_EQ(read_file(a / name),
              read_file(checkpoints_folder(run_ / "b") / checkpoint_name(7) / name))
        << name;
}

TEST_F(CheckpointTest, ParametersAloneCanBeRead) {
  save_steps(run_, {3});
  const Snapshot expected(3);
  ParamBuffer parameters(expected.table, DType::f32, "test tensors");
  load_checkpoint(open(run_), expected.table, {&parameters, nullptr, nullptr});
  EXPECT_TRUE(test::same_bits(parameters, expected.parameters));
  EXPECT_EQ(load_state(open(run_)).config, expected.state.config);
}

TEST_F(CheckpointTest, TensorsAreWholeAndNamedForOtherPrograms) {
  save_steps(run_, {3});
  const hdf5::File file = hdf5::File::open(folder_of(3) / "checkpoint.h5");
  const Snapshot expected(3);
  for (const char* group : {"/parameters", "/optimizer/m", "/optimizer/v"})
    EXPECT_EQ(file.children(group).size(), expected.table.size()) << group;
  EXPECT_EQ(file.info("/parameters/blocks.0.norm1.weight").shape, (std::vector<uint64_t>{8}));
  EXPECT_EQ(file.info("/parameters/head.weight").shape, (std::vector<uint64_t>{1, 8}));
  const std::vector<float> moment =
      file.read_dataset<float>("/optimizer/m/embedding.weight", 17 * 8);
  EXPECT_EQ(std::memcmp(moment.data(), expected.m[0].data, 17 * 8 * sizeof(float)), 0);
}

// --- damage

using Damage = std::function<void(const fs::path&)>;

Damage flip(double where) {
  return [where](const fs::path& path) {
    std::string content = read_file(path);
    content.at(static_cast<size_t>(where * static_cast<double>(content.size() - 1))) ^= 0x01;
    std::ofstream(path, std::ios::binary) << content;
  };
}

TEST_F(CheckpointTest, AnyDamageIsNamedAndTheCheckpointBeforeIsUsed) {
  const std::vector<std::pair<std::string, Damage>> damages = {
      {"first byte flipped", flip(0)},
      {"middle byte flipped", flip(0.5)},
      {"last byte flipped", flip(1)},
      {"last byte cut off", [](const fs::path& p) { fs::resize_file(p, fs::file_size(p) - 1); }},
      {"emptied", [](const fs::path& p) { fs::resize_file(p, 0); }},
      {"removed", [](const fs::path& p) { fs::remove(p); }},
      {"a folder instead",
       [](const fs::path& p) {
         fs::remove(p);
         fs::create_directory(p);
       }},
  };
  for (const auto& [what, damage] : damages) {
    for (const std::string name : {"rank-0000.h5", "checkpoint.h5", "state.json", "config.toml",
                                   "tokenizer.json", "manifest.json"}) {
      SCOPED_TRACE(name + " " + what);
      const test::TempDir run(test::scratch_in_memory());
      save_steps(run.path(), {1, 2});
      const fs::path newest = checkpoints_folder(run.path()) / checkpoint_name(2);
      damage(newest / name);
      // The last byte of a JSON file is a line end, which nobody misses.
      if (name == "manifest.json" && what == "last byte cut off") continue;

      std::vector<std::string> warnings;
      const auto found = find_latest(run.path(), warnings);
      ASSERT_TRUE(found);
      expect_snapshot(*found, 1);
      ASSERT_EQ(warnings.size(), 1u);
      EXPECT_NE(warnings[0].find((newest / name).string()), std::string::npos) << warnings[0];
      EXPECT_NE(warnings[0].find("; using " + found->folder.string()), std::string::npos);
      EXPECT_NE(complaint(newest).find((newest / name).string()), std::string::npos);
    }
  }
}

TEST_F(CheckpointTest, NoFlippedBitOfTheManifestChangesItsMeaning) {
  save_steps(run_, {5});
  const fs::path file = folder_of(5) / kManifestName;
  const std::string good = read_file(file);
  const auto meaning = [](const Manifest& m) {
    std::string text = fmt::format("{} {} {}", m.step, m.sequence, m.ranks);
    for (const ManifestFile& f : m.files) text += fmt::format(" {} {} {}", f.name, f.bytes, f.hash);
    return text;
  };
  const std::string expected = meaning(read_manifest(folder_of(5)));
  size_t refused = 0;
  for (size_t at = 0; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] ^= static_cast<char>(1 << (at % 8));
    std::ofstream(file, std::ios::binary) << bad;
    try {
      EXPECT_EQ(meaning(read_manifest(folder_of(5))), expected) << "byte " << at;
    } catch (const FormatError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, good.size() / 2);  // the rest are blanks
}

TEST_F(CheckpointTest, EveryOneDamagedMeansNoneAndSaysSo) {
  save_steps(run_, {1, 2});
  flip(0.5)(folder_of(1) / "rank-0000.h5");
  fs::remove(folder_of(2) / kManifestName);
  EXPECT_FALSE(find_latest(run_, warnings_));
  ASSERT_EQ(warnings_.size(), 2u);
  EXPECT_NE(warnings_[0].find("step-00000002"), std::string::npos);
  EXPECT_NE(warnings_[0].find("never completed"), std::string::npos);
  EXPECT_NE(warnings_[1].find("there is no other"), std::string::npos);
  EXPECT_THROW(open(run_), FormatError);
}

TEST_F(CheckpointTest, FoldersThatAreNoCheckpointsAreRefused) {
  EXPECT_FALSE(find_latest(run_, warnings_));
  EXPECT_TRUE(warnings_.empty());
  EXPECT_THROW(open(run_ / "absent"), UserError);
  EXPECT_THROW(open(run_), UserError);
  fs::create_directory(checkpoints_folder(run_));
  EXPECT_THROW(open(run_), UserError);
  fs::create_directory(folder_of(4));
  EXPECT_THROW(open(folder_of(4)), FormatError);
}

TEST_F(CheckpointTest, ManifestCannotLeadOutOfItsFolder) {
  save_steps(run_, {1});
  std::ofstream(run_ / "secret") << "x";
  Manifest manifest = read_manifest(folder_of(1));
  manifest.files.push_back({"../../secret", 1, 0});
  write_manifest(folder_of(1), manifest);
  EXPECT_NE(complaint(folder_of(1)).find("not a file name"), std::string::npos);
  manifest.files.pop_back();
  manifest.ranks = 2;
  write_manifest(folder_of(1), manifest);
  EXPECT_NE(complaint(folder_of(1)).find("rank-0001.h5 is not listed"), std::string::npos);
}

// --- another model's checkpoint

class OtherModel : public CheckpointTest {
 protected:
  std::string complaint_about(const ParamTable& table) {
    save_steps(run_, {1});
    ParamBuffer parameters(table, DType::f32, "test tensors");
    try {
      load_checkpoint(open(run_), table, {&parameters, nullptr, nullptr});
    } catch (const FormatError& e) {
      return e.what();
    }
    return "";
  }
};

TEST_F(OtherModel, ShapeIsNamed) {
  ParamTable table = small_table();
  table[0].rows = 18;
  EXPECT_NE(
      complaint_about(table).find("/parameters/embedding.weight is 17x8, the model's is 18x8"),
      std::string::npos);
}

TEST_F(OtherModel, MissingTensorIsNamed) {
  ParamTable table = small_table();
  table.push_back(test::param("blocks.1.norm1.weight", 1, 8, ParamRole::vector));
  EXPECT_NE(complaint_about(table).find("/parameters/blocks.1.norm1.weight is missing"),
            std::string::npos);
}

TEST_F(OtherModel, TensorTooManyIsNamed) {
  ParamTable table = small_table();
  table.pop_back();
  EXPECT_NE(complaint_about(table).find("head.weight is not in the model"), std::string::npos);
}

/// A checkpoint of two ranks, as other layouts will write them: rows 0-9 and 10-16 of one matrix.
class TwoRanks : public CheckpointTest {
 protected:
  void write_rank(int64_t rank, uint64_t first, uint64_t count, uint64_t cols = 8) {
    const std::string name = "/parameters/w";
    hdf5::File file = hdf5::File::create(run_ / shard_name(rank));
    const uint64_t shape[] = {count, cols}, whole[] = {17, 8}, offset[] = {first, 0};
    file.write_dataset<float>(name, shape,
                              std::span<const float>(values_).subspan(first * 8, count * cols));
    file.set_attribute(name, "global_shape", std::span<const uint64_t>(whole));
    file.set_attribute(name, "offset", std::span<const uint64_t>(offset));
    file.close();
  }
  void read() {
    read_tensors(run_, {1, 1, 2, {}}, table_, {&into_, nullptr, nullptr}, Sharding(table_));
  }

  ParamTable table_ = {test::param("w", 17, 8, ParamRole::hidden)};
  std::vector<float> values_ = [] {
    std::vector<float> v(17 * 8);
    for (size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i);
    return v;
  }();
  ParamBuffer into_{table_, DType::f32, "test tensors"};
};

TEST_F(TwoRanks, ShardsMakeTheWholeTensor) {
  write_rank(0, 0, 10);
  write_rank(1, 10, 7);
  read();
  EXPECT_EQ(std::memcmp(into_[0].data, values_.data(), values_.size() * sizeof(float)), 0);
}

TEST_F(TwoRanks, GapsOverlapsAndExcessAreRefused) {
  write_rank(0, 0, 9);
  write_rank(1, 10, 7);
  EXPECT_THROW(read(), FormatError);  // row 9 is nowhere
  write_rank(0, 0, 11);
  EXPECT_THROW(read(), FormatError);  // row 10 is twice
  write_rank(0, 0, 10);
  write_rank(1, 10, 6);
  EXPECT_THROW(read(), FormatError);  // row 16 is nowhere
  write_rank(1, 10, 7, 4);
  EXPECT_THROW(read(), FormatError);  // half rows
}

// --- h5py

TEST_F(CheckpointTest, H5pyReadsTheVirtualFile) {
  const char* named = std::getenv("ISOFLOP_TEST_PYTHON");
  const std::string python = named ? named : "python3";
  if (std::system((python + " -c 'import h5py' 2>/dev/null").c_str()) != 0)
    GTEST_SKIP() << python << " has no h5py; set ISOFLOP_TEST_PYTHON to one that has";
  save_steps(run_, {3});
  const fs::path script = run_ / "read.py";
  std::ofstream(script) << R"(
import sys, h5py
with h5py.File(sys.argv[1]) as f:
    for group in "parameters", "optimizer/m", "optimizer/v":
        for name in "embedding.weight", "blocks.0.norm1.weight":
            data = f[group][name][...]
            open(sys.argv[2], "ab").write(data.tobytes())
            print(data.shape, data.dtype)
)";
  const fs::path bytes = run_ / "bytes", shapes = run_ / "shapes";
  const std::string command = python + " " + script.string() + " " +
                              (folder_of(3) / "checkpoint.h5").string() + " " + bytes.string() +
                              " > " + shapes.string();
  ASSERT_EQ(std::system(command.c_str()), 0);
  const Snapshot expected(3);
  std::string expected_bytes, expected_shapes;
  for (const ParamBuffer* buffer : {&expected.parameters, &expected.m, &expected.v}) {
    for (const size_t i : {0, 2})
      expected_bytes.append(static_cast<const char*>((*buffer)[i].data), (*buffer)[i].bytes());
    expected_shapes += "(17, 8) float32\n(8,) float32\n";
  }
  EXPECT_EQ(read_file(bytes), expected_bytes);
  EXPECT_EQ(read_file(shapes), expected_shapes);
}

// --- state.json

TEST(TrainState, RoundTripAndHostileFields) {
  const Snapshot snapshot(9);
  const std::string good = train_state_json(snapshot.state);
  EXPECT_EQ(train_state_json(parse_train_state(good, "state.json")), good);
  EXPECT_EQ(parse_train_state(good, "state.json").seed, 0xfedcba9876543210u);
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  };
  for (const std::string& bad :
       {with("\"step\": 9", "\"step\": -9"), with("\"step\": 9", "\"step\": 9.5"),
        with("\"step\": 9", "\"step\": 1e300"), with("\"step\": 9", "\"stop\": 9"),
        with("\"step\": 9", "\"step\": 18446744073709551615"),
        with("\"version\": 2", "\"version\": 3"), with("\"guard\": {", "\"guard\": 1, \"x\": {"),
        with("\"rewinds\": 1", "\"rewinds\": -1"),
        with("\"skipped_steps\": [", "\"skipped_steps\": [7, "),
        with("\"seen\": [", "\"seen\": [3, "), with("3.25", "\"3.25\""),
        good.substr(0, good.size() / 2), std::string("[]"), std::string(),
        std::string(100000, '[')})
    EXPECT_THROW(parse_train_state(bad, "state.json"), FormatError) << bad.substr(0, 80);
}

TEST(TrainState, TheFirstVersionHadNoGuard) {
  const TrainState state = parse_train_state(
      R"({"version": 1, "step": 3, "tokens": 768, "seed": 1, "slots": 4, "optimizer_step": 3,
          "config_hash": "", "last_valid_loss": null, "best_valid_loss": null,
          "recent_losses": [5.5, 5.25], "kernel_plan": "{}", "extra": ""})",
      "state.json");
  EXPECT_EQ(state.step, 3);
  EXPECT_TRUE(state.guard.seen.empty());
  EXPECT_TRUE(state.guard.left_out.empty());
}

TEST(TrainState, RecentLossesAreAWindowOfFifty) {
  TrainState state;
  EXPECT_TRUE(std::isnan(state.mean_recent_loss()));
  for (int i = 1; i <= 60; ++i) state.add_loss(i);
  EXPECT_EQ(state.recent_losses.size(), 50u);
  EXPECT_EQ(state.mean_recent_loss(), (11 + 60) / 2.0);
}

}  // namespace
}  // namespace isoflop
