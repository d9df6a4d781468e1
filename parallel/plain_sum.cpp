#include "parallel/plain_sum.hpp"

#include "parallel/mpi_world.hpp"

namespace isoflop {

namespace {

/// Each part goes once around and gathers every rank's, then once more to tell them.
void ring_sum(Communicator& group, float* data, size_t count) {
  const auto n = static_cast<size_t>(group.size()), me = static_cast<size_t>(group.rank());
  const auto part = [&](size_t index) {
    const size_t begin = index % n * count / n, end = (index % n + 1) * count / n;
    return std::span<float>(data + begin, end - begin);
  };
  const auto pass_on = [&](std::span<float> out, std::span<float> in) {
    const Message right[] = {{static_cast<int>((me + 1) % n), out.data(), out.size_bytes()}};
    const Message left[] = {{static_cast<int>((me + n - 1) % n), in.data(), in.size_bytes()}};
    group.exchange(right, left);
  };
  std::vector<float> arrived(count / n + 1);
  for (size_t step = 0; step + 1 < n; ++step) {
    const std::span<float> sum = part(me + n - step - 1);
    pass_on(part(me + n - step), {arrived.data(), sum.size()});
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += arrived[i];
  }
  for (size_t step = 0; step + 1 < n; ++step) pass_on(part(me + n - step + 1), part(me + n - step));
}

}  // namespace

void plain_sum(Communicator& group, float* data, size_t count) {
  if (group.size() > 1 && !mpi_plain_sum(group, data, count)) ring_sum(group, data, count);
}

}  // namespace isoflop
