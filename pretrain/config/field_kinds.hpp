// How one row of the list is made from a struct member: reading, range check, writing.
#pragma once
#include "core/error.hpp"
#include "pretrain/config/fields.hpp"

#include <type_traits>
#include <utility>

namespace isoflop {

/// The text of `setting` converted to what the field holds, checked; UserError otherwise.
int64_t as_integer(const Field& field, const Setting& setting);
double as_real(const Field& field, const Setting& setting);
bool as_boolean(const Field& field, const Setting& setting);
std::string as_text(const Field& field, const Setting& setting);
std::vector<std::string> as_texts(const Field& field, const Setting& setting);
std::vector<DataEntry> as_entries(const Field& field, const Setting& setting);
std::vector<double> as_reals(const Field& field, const Setting& setting);
[[noreturn]] void refuse(const Field& field, const Setting& setting);

template <class Section, class Member>
struct At {
  Section RunConfig::*section;
  Member Section::*member;
  Member& operator()(RunConfig& config) const { return config.*section.*member; }
  const Member& operator()(const RunConfig& config) const { return config.*section.*member; }
};
template <class Section, class Member>
At<Section, Member> at(Section RunConfig::*section, Member Section::*member) {
  return {section, member};
}

/// Completes `field` with the accessors of a member; the member's type picks the conversion.
template <class Section, class Member>
Field bind(Field field, At<Section, Member> member) {
  field.get = [member](const RunConfig& config) -> Value {
    if constexpr (std::is_integral_v<Member> && !std::is_same_v<Member, bool>) {
      return static_cast<int64_t>(member(config));
    } else {
      return member(config);
    }
  };
  // The field is copied into its own setter without accessors: enough for checks and messages.
  field.set = [row = field, member](RunConfig& config, const Setting& setting) {
    if constexpr (std::is_same_v<Member, bool>) {
      member(config) = as_boolean(row, setting);
    } else if constexpr (std::is_integral_v<Member>) {
      member(config) = static_cast<Member>(as_integer(row, setting));
    } else if constexpr (std::is_floating_point_v<Member>) {
      member(config) = as_real(row, setting);
    } else if constexpr (std::is_same_v<Member, std::string>) {
      member(config) = as_text(row, setting);
    } else if constexpr (std::is_same_v<Member, std::vector<DataEntry>>) {
      member(config) = as_entries(row, setting);
    } else {
      member(config) = as_texts(row, setting);
    }
  };
  return field;
}

}  // namespace isoflop
