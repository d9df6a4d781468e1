#include "parallel/tensor_parallel.hpp"

#include "core/math.hpp"

#include <algorithm>
#include <utility>

namespace isoflop {

namespace {

size_t bytes_of(int64_t rows, int64_t cols, DType dtype) {
  return Arena::aligned(static_cast<size_t>(rows * cols) * size_of(dtype));
}

/// into = sum of the terms in order + add, a run of columns at a time.
template <class T>
void add_up_of(std::span<const View> terms, View add, View into) {
  constexpr int64_t kRun = 256;
  decltype(widen(T())) sum[kRun];
  for (int64_t row = 0; row < into.rows; ++row)
    for (int64_t first = 0; first < into.cols; first += kRun) {
      const int64_t count = std::min(kRun, into.cols - first);
      const auto plus = [&](View term) {
        const T* const from = term.row<T>(row) + first;
        for (int64_t i = 0; i < count; ++i) sum[i] += widen(from[i]);
      };
      std::fill_n(sum, count, 0);
      for (const View& term : terms) plus(term);
      if (add) plus(add);
      T* const to = into.row<T>(row) + first;
      for (int64_t i = 0; i < count; ++i) assign(to[i], sum[i]);
    }
}

void add_up(std::span<const View> terms, View add, View into) {
  switch (into.dtype) {
    case DType::f32:
      return add_up_of<float>(terms, add, into);
    case DType::bf16:
      return add_up_of<bf16>(terms, add, into);
    case DType::f64:
      return add_up_of<double>(terms, add, into);
    default:
      ISOFLOP_CHECK(false, "ranks do not add {}", name_of(into.dtype));
  }
}

}  // namespace

size_t TensorParallel::bytes_for(int parts, int64_t tokens, int64_t width, DType activation) {
  return 3 * bytes_of(tokens, width, activation) +
         bytes_of((parts - 1) * part_of(tokens, 0, parts).count, width, activation);
}

TensorParallel::TensorParallel(std::unique_ptr<Communicator> group,
                               Backend& backend,
                               int64_t tokens,
                               int64_t width)
    : group_(std::move(group)), backend_(backend) {
  ISOFLOP_CHECK(backend.in_host_memory(), "ranks share matrices in host memory only");
  const DType activation = backend.activation_dtype();
  buffer_ = allocate_host(bytes_for(parts(), tokens, width, activation),
                          "what ranks that share matrices send each other");
  std::byte* at = buffer_.data();
  const auto take = [&](int64_t rows) {
    const View view = make_view(at, activation, rows, width);
    at += bytes_of(rows, width, activation);
    return view;
  };
  whole_ = take(tokens);
  gradient_ = take(tokens);
  partial_ = take(tokens);
  arrived_ = take((parts() - 1) * part_of(tokens, 0, parts()).count);
  sends_.reserve(static_cast<size_t>(parts()));
  receives_.reserve(static_cast<size_t>(parts()));
  terms_.resize(static_cast<size_t>(parts()));
}

View TensorParallel::gather(View slice, int64_t tokens, View into) {
  const View all = into.slice(0, tokens);
  sends_.clear();
  receives_.clear();
  backend_.synchronize();
  for (int peer = 0; peer < parts(); ++peer) {
    const RowRange rows = part_of(tokens, peer, parts());
    const View theirs = all.slice(rows.first, rows.count);
    if (peer == part()) {
      backend_.copy(slice, theirs);
      continue;
    }
    sends_.push_back({peer, slice.data, slice.bytes()});
    receives_.push_back({peer, theirs.data, theirs.bytes()});
  }
  group_->exchange(sends_, receives_);
  return all;
}

View TensorParallel::partial(int64_t tokens) {
  return partial_.slice(0, tokens);
}

void TensorParallel::reduce(View into, int64_t tokens, View add) {
  const RowRange mine = slice(tokens);
  sends_.clear();
  receives_.clear();
  backend_.synchronize();
  int64_t others = 0;
  for (int peer = 0; peer < parts(); ++peer) {
    const RowRange rows = part_of(tokens, peer, parts());
    const View theirs = partial_.slice(rows.first, rows.count);
    View& term = terms_[static_cast<size_t>(peer)];
    if (peer == part()) {
      term = theirs;
      continue;
    }
    term = arrived_.slice(others++ * mine.count, mine.count);
    sends_.push_back({peer, theirs.data, theirs.bytes()});
    receives_.push_back({peer, term.data, term.bytes()});
  }
  group_->exchange(sends_, receives_);
  add_up(terms_, add, into);
}

}  // namespace isoflop
