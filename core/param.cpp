#include "core/param.hpp"

#include "core/math.hpp"

namespace isoflop {

int64_t parameter_count(const ParamTable& table) {
  int64_t count = 0;
  for (const ParamSpec& spec : table) count += spec.size();
  return count;
}

static int64_t padded_size(const ParamSpec& spec, DType dtype) {
  return round_up(spec.size(), static_cast<int64_t>(kAlignment / size_of(dtype)));
}

size_t ParamBuffer::bytes_for(const ParamTable& table, DType dtype) {
  int64_t elements = 0;
  for (const ParamSpec& spec : table) elements += padded_size(spec, dtype);
  return static_cast<size_t>(elements) * size_of(dtype);
}

ParamBuffer::ParamBuffer(const ParamTable& table,
                         DType dtype,
                         const std::string& what,
                         const Allocate& allocate)
    : ParamBuffer(table, dtype, what, std::vector<bool>(table.size(), true), allocate) {}

ParamBuffer::ParamBuffer(const ParamTable& table,
                         DType dtype,
                         const std::string& what,
                         const std::vector<bool>& holds,
                         const Allocate& allocate) {
  ParamTable held;
  for (size_t i = 0; i < table.size(); ++i)
    if (holds[i]) held.push_back(table[i]);
  buffer_ = allocate(bytes_for(held, dtype), what);
  int64_t offset = 0;
  for (size_t i = 0; i < table.size(); ++i) {
    views_.emplace_back();
    if (!holds[i]) continue;
    views_.back() = make_view(buffer_.data() + static_cast<size_t>(offset) * size_of(dtype), dtype,
                              table[i].rows, table[i].cols);
    offset += padded_size(table[i], dtype);
  }
  flat_ = make_view(buffer_.data(), dtype, 1, offset);
}

ParamBuffer ParamBuffer::twin_on_host(const std::string& what, DType dtype) const {
  ParamTable shapes(views_.size());
  std::vector<bool> holds;
  for (size_t i = 0; i < views_.size(); ++i) {
    shapes[i].rows = views_[i].rows;
    shapes[i].cols = views_[i].cols;
    holds.push_back(static_cast<bool>(views_[i]));
  }
  return ParamBuffer(shapes, dtype, what, holds);
}

int find_param(const ParamTable& table, std::string_view name) {
  for (size_t i = 0; i < table.size(); ++i)
    if (table[i].name == name) return static_cast<int>(i);
  return -1;
}

}  // namespace isoflop
