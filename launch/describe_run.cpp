#include "core/math.hpp"
#include "core/param.hpp"
#include "launch/describe.hpp"
#include "launch/machine.hpp"
#include "pretrain/config/batch_plan.hpp"
#include "pretrain/config/dump.hpp"
#include "pretrain/config/fields.hpp"
#include "pretrain/config/resolve.hpp"
#include "pretrain/model/architecture.hpp"
#include "pretrain/model/parametrized.hpp"
#include "pretrain/train/prepare.hpp"

namespace isoflop {

namespace {

using Json = nlohmann::ordered_json;

Json to_json(const DataEntry& entry) {
  if (entry.weight == 0 && entry.name.empty()) return entry.path;
  Json object = {{"path", entry.path}};
  if (entry.weight != 0) object["weight"] = entry.weight;
  if (!entry.name.empty()) object["name"] = entry.name;
  return object;
}

Json to_json(const Value& value) {
  if (const auto* entries = std::get_if<std::vector<DataEntry>>(&value)) {
    Json list = Json::array();
    for (const DataEntry& entry : *entries) list.push_back(to_json(entry));
    return list;
  }
  return std::visit(
      [](const auto& held) {
        if constexpr (std::is_constructible_v<Json, decltype(held)>)
          return Json(held);
        else
          return Json();
      },
      value);
}

/// Without a vocabulary (it waits for the tokenizer) nothing can be counted.
Json count(const RunConfig& config) {
  Json counts = Json::object();
  const ScheduleConfig& schedule = config.schedule;
  if (config.model.vocabulary == 0) return counts;
  const ParamTable table = make_parametrized_table(config);
  const int64_t parameters = parameter_count(table);
  counts["parameters"] = parameters;
  counts["matmul_parameters"] = matmul_parameter_count(config.model);
  counts["non_embedding_parameters"] = non_embedding_parameter_count(config.model);
  counts["flops_per_token"] = training_flops_per_token(config.model);
  if (schedule.budget.empty()) {
    const int64_t steps = planned_steps(config, parameters);
    counts["steps"] = steps;
    uint64_t tokens = 0;
    if (checked_multiply(static_cast<uint64_t>(steps), static_cast<uint64_t>(schedule.batch_tokens),
                         tokens)) {
      counts["tokens"] = batch_plan(config).tokens_before(steps);
    }
  }
  Json memory;
  size_t total = 0;
  for (const MemoryRow& row : plan_memory(
           config, table, batch_plan(config), choose_compute(config.compute).path.activation,
           DType::f32, 1, config.compute.device == "cuda" ? MemoryOf::device : MemoryOf::host)) {
    memory[row.kind] = row.bytes;
    total += row.bytes;
  }
  counts["memory_bytes"] = total;
  counts["memory"] = memory;
  return counts;
}

}  // namespace

RunDescription describe_run(const RunConfig& config, const Origins& origins) {
  const RunConfig full = resolved(config);
  RunDescription run;
  run.toml = config_to_toml(full, origins);
  for (const Field& field : config_fields()) run.config[field.key] = to_json(field.get(full));
  run.counts = count(full);
  return run;
}

}  // namespace isoflop
