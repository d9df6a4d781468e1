// Sweeps as a page for people: the losses of every width over each swept key with the fitted
// optimum, several sweeps (sp beside mup) one after the other on one scale, and how far the optimum
// moves with the width.
#pragma once
#include "launch/sweep_table.hpp"

#include <string>
#include <vector>

namespace isoflop {

struct NamedSweep {
  std::string name;  // of its folder
  SweepTable table;
};

std::string sweep_page(const std::string& title, const std::vector<NamedSweep>& sweeps);

}  // namespace isoflop
