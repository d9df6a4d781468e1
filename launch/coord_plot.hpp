// The curves of a coordinate check as a picture of its own: one panel a module, size to the right,
// mean |activation| upward, both logarithmic, one curve a step (later is darker).
#pragma once
#include "muP/coord_check.hpp"

#include <string>
#include <vector>

namespace isoflop {

/// A whole SVG file; `size` names the horizontal axis.
std::string coord_svg(const std::vector<CoordRow>& rows, const std::string& size);

}  // namespace isoflop
