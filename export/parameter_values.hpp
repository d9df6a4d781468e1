// The parameters of a model that is being written, one after another: from memory, or read from
// their source when their turn comes, so that no more than one of them is held.
#pragma once
#include "core/param.hpp"
#include "core/threads.hpp"
#include "pretrain/model_source.hpp"

#include <vector>

namespace isoflop {

class ParameterValues {
 public:
  /// Borrows all of them. `parameters` are not looked at when there is a source (null: none).
  ParameterValues(const ParamTable& table,
                  const ParamBuffer& parameters,
                  const ModelSource* source,
                  ThreadTeam& team)
      : table_(table), parameters_(parameters), source_(source), team_(team) {}

  /// f32 values of that row of the table, valid until the next call; null for row -1.
  const float* of(int row) {
    if (row < 0) return nullptr;
    const auto i = static_cast<size_t>(row);
    if (!source_) return parameters_[i].as<float>();
    if (held_ != row) {
      one_ = ParamBuffer();  // free first
      std::vector<bool> holds(table_.size(), false);
      holds[i] = true;
      one_ = ParamBuffer(table_, DType::f32, table_[i].name, holds);
      source_->read_parameters(table_, one_, team_);
      held_ = row;
    }
    return one_[i].as<float>();
  }

 private:
  const ParamTable& table_;
  const ParamBuffer& parameters_;
  const ModelSource* source_;
  ThreadTeam& team_;
  ParamBuffer one_;
  int held_ = -1;
};

}  // namespace isoflop
