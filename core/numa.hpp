// Nodes of memory: which ones this process's cores belong to, and pages dealt out to them. A thread
// of the team may pick any tile, so no node is the right one for a page of a team that spans
// several.
#pragma once
#include "core/file.hpp"

#include <cstddef>
#include <vector>

namespace isoflop {

/// Cores of the calling thread's affinity mask, ascending; none when the system does not say.
std::vector<int> allowed_cores();

/// Nodes with memory that any of `cores` belong to, ascending: what /sys says, under another root
/// in tests. None when it says nothing.
std::vector<int> memory_nodes(const std::vector<int>& cores, const fs::path& root = "/");

/// Has the pages of [data, data + bytes), whole pages that nobody has touched yet, come from
/// `nodes` in turn. False when the system refuses or the process was started with a policy of its
/// own (numactl): each page then comes from where that or its first touch says. Only speed depends
/// on it.
bool interleave_pages(void* data, size_t bytes, const std::vector<int>& nodes);

}  // namespace isoflop
