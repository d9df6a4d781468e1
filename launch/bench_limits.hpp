// What this machine can do at most, measured through the backend's own operations, so that shares
// of it mean the same on every device. Used by `bench` and for the progress line.
#pragma once
#include "ops/backend.hpp"

#include <functional>
#include <vector>

namespace isoflop {

/// y = x W^T and its backward: (rows, inputs) by (outputs, inputs).
struct ProductShape {
  int64_t rows = 0, outputs = 0, inputs = 0;
  bool operator==(const ProductShape&) const = default;
};

/// The middle one of the sorted times (the upper of two). `values` must not be empty.
double median(std::vector<double> values);

/// Median seconds of a call, of at least five and about a fifth of a second of them, after one to
/// get warm. Waits for the device.
double seconds_of(Backend& backend, const std::function<void()>& call);

/// Uniform in [-0.5, 0.5): zeros would run too fast.
void fill_with_noise(View view);

/// FLOP/s of the fastest product of the backend (forward or one of the two backward) on the fastest
/// of `shapes`, the median of several calls each.
double measure_product_rate(Backend& backend, const std::vector<ProductShape>& shapes);

/// Bytes/s of `to += from` on arrays that no cache holds.
double measure_bandwidth(Backend& backend);

}  // namespace isoflop
