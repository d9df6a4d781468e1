// A small model's worth of tensors and state for the checkpoint tests, all a function of the step.
#pragma once
#include "pretrain/checkpoint/checkpoint.hpp"
#include "pretrain/checkpoint/writer.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>
#include <vector>

namespace isoflop::test {

inline ParamSpec param(std::string name, int64_t rows, int64_t cols, ParamRole role) {
  ParamSpec spec;
  spec.name = std::move(name);
  spec.rows = rows;
  spec.cols = cols;
  spec.role = role;
  return spec;
}

inline ParamTable small_table() {
  return {param("embedding.weight", 17, 8, ParamRole::embedding),
          param("blocks.0.attention.qkv.weight", 24, 8, ParamRole::hidden),
          param("blocks.0.norm1.weight", 1, 8, ParamRole::vector),
          param("head.weight", 1, 8, ParamRole::output)};  // one row, and yet a matrix
}

/// Every bit pattern may occur: NaN with a payload, -0, subnormals.
inline ParamBuffer filled(const ParamTable& table, uint32_t salt) {
  ParamBuffer buffer(table, DType::f32, "test tensors");
  uint32_t bits = salt * 2654435761u;
  for (size_t i = 0; i < buffer.count(); ++i) {
    auto* values = buffer[i].as<float>();
    for (int64_t k = 0; k < buffer[i].size(); ++k) {
      bits = bits * 1664525u + 1013904223u;
      values[k] = std::bit_cast<float>(bits);
    }
    values[0] = -0.0f;
    values[1] = std::bit_cast<float>(0x7fc12345u);
    values[2] = std::bit_cast<float>(0x00000001u);
  }
  return buffer;
}

struct Snapshot {
  ParamTable table = small_table();
  TrainState state;
  ParamBuffer parameters, m, v;

  explicit Snapshot(int64_t step)
      : parameters(filled(table, static_cast<uint32_t>(3 * step))),
        m(filled(table, static_cast<uint32_t>(3 * step + 1))),
        v(filled(table, static_cast<uint32_t>(3 * step + 2))) {
    state.step = step;
    state.tokens = step * 16384;
    state.seed = 0xfedcba9876543210u;  // beyond a signed integer and a double
    state.slots = 8;
    state.optimizer_step = step - 1;
    state.config_hash = "0123456789abcdef";
    state.kernel_plan = R"({"matmul": "onednn"})";
    state.config = "[model]\nlayers = 6\n";
    state.recent_losses = {3.25, 0.1 + 0.2, TrainState::kNone};
    state.best_valid_loss = 1.0 / 3;
    state.guard.seen = {{5, 3.25, 0.1 + 0.2}, {7, 3.0, 1e-30}};
    state.guard.skipped = {6};
    state.guard.left_out = {8, 9};
    state.guard.rewinds = 1;
  }
  void save(CheckpointWriter& writer) const { writer.save(state, parameters, m, v); }
};

inline bool same_bits(const ParamBuffer& a, const ParamBuffer& b) {
  return a.flat().bytes() == b.flat().bytes() &&
         std::memcmp(a.flat().data, b.flat().data, a.flat().bytes()) == 0;
}

/// The checkpoint holds exactly what Snapshot(step) holds.
inline void expect_snapshot(const CheckpointRef& checkpoint, int64_t step) {
  const Snapshot expected(step);
  ParamBuffer parameters(expected.table, DType::f32, "test tensors");
  ParamBuffer m(expected.table, DType::f32, "test tensors");
  ParamBuffer v(expected.table, DType::f32, "test tensors");
  const TrainState state = load_checkpoint(checkpoint, expected.table, {&parameters, &m, &v});
  EXPECT_EQ(train_state_json(state), train_state_json(expected.state));
  EXPECT_EQ(state.config, expected.state.config);
  EXPECT_TRUE(same_bits(parameters, expected.parameters)) << "parameters of step " << step;
  EXPECT_TRUE(same_bits(m, expected.m)) << "first moments of step " << step;
  EXPECT_TRUE(same_bits(v, expected.v)) << "second moments of step " << step;
}

inline CheckpointWriterOptions writer_options(const fs::path& run) {
  CheckpointWriterOptions options;
  options.run = run;
  options.tokenizer = "{\"model\": {}}";
  options.retry_seconds = 0;
  return options;
}

/// Where a test that saves hundreds of times does it: killing a process (not the machine) leaves
/// the same files in memory as on a disk, without waiting for the disk at every sync.
inline fs::path scratch_in_memory() {
  std::error_code error;
  const fs::path memory = "/dev/shm";
  return fs::is_directory(memory, error) && ::access(memory.c_str(), W_OK) == 0
             ? memory
             : fs::temp_directory_path();
}

/// Saves these steps one after the other.
inline void save_steps(const fs::path& run, const std::vector<int64_t>& steps, int64_t keep = 0) {
  CheckpointWriterOptions options = writer_options(run);
  options.retention.keep = keep;
  CheckpointWriter writer(options, small_table());
  for (const int64_t step : steps) {
    Snapshot(step).save(writer);
    ASSERT_TRUE(writer.finish()) << writer.last_error();
  }
}

/// Names under a folder, sorted, hidden ones included.
inline std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace isoflop::test
