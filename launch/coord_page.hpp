// A coordinate check as a page for people: the verdict, the slopes, and for each module mean |x|
// and how far x has moved over the size of the model, both axes logarithmic, one curve a step.
#pragma once
#include "muP/coord_check.hpp"

#include <string>
#include <vector>

namespace isoflop {

/// The models of one dimension and what they were judged to be.
struct CoordStudy {
  CoordSetting setting;
  std::vector<CoordRow> rows;
  CoordVerdict verdict;
  bool muon_alone = false;  // coord_run.hpp
};

std::string coord_page(const std::string& title, const std::vector<CoordStudy>& studies);

}  // namespace isoflop
