// Which keys a resumed run may change: one list, in pretrain/config/fields.cpp.
#include "pretrain/config/fields.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

// Whoever adds a key decides; keys of these sections say where and how, never what is computed.
TEST(ResumeKeys, OnlyLayoutOutputEvalCheckpointAndGuardMayChange) {
  for (const Field& field : config_fields()) {
    const std::string section = field.key.substr(0, field.key.find('.'));
    const bool free = section == "compute" || section == "parallel" || section == "checkpoint" ||
                      section == "eval" || section == "output" || section == "guard" ||
                      section == "plan" || field.key == "model.preset";
    EXPECT_EQ(field.frozen, !free || field.key == "compute.dtype") << field.key;
  }
}

}  // namespace
}  // namespace isoflop
