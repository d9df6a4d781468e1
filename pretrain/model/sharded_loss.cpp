#include "pretrain/model/sharded_loss.hpp"

#include <algorithm>
#include <cmath>

namespace isoflop {

namespace {

template <class T>
void scale_row(T* x, int64_t count, double factor) {
  const auto by = static_cast<decltype(widen(T()))>(factor);
  for (int64_t c = 0; c < count; ++c) assign(x[c], widen(x[c]) * by);
}

void scale_row(View x, int64_t row, double factor) {
  switch (x.dtype) {
    case DType::f32:
      return scale_row(x.row<float>(row), x.cols, factor);
    case DType::bf16:
      return scale_row(x.row<bf16>(row), x.cols, factor);
    case DType::f64:
      return scale_row(x.row<double>(row), x.cols, factor);
    default:
      ISOFLOP_CHECK(false, "logits in {} are not shared", name_of(x.dtype));
  }
}

}  // namespace

ShardedLoss::ShardedLoss(TensorParallel& tp, Backend& backend, int64_t rows)
    : tp_(tp),
      backend_(backend),
      stand_ins_(static_cast<size_t>(rows)),
      first_(static_cast<size_t>(rows)),
      own_(static_cast<size_t>(2 * rows)),
      all_(static_cast<size_t>(2 * rows * tp.parts())) {}

// The op wants a target of ours in every row; its loss then gives our log-sum-exp.
void ShardedLoss::cross_entropy(const CrossEntropy& op) {
  const int64_t rows = op.logits.rows;
  backend_.synchronize();
  for (int64_t r = 0; r < rows; ++r) {
    const auto i = static_cast<size_t>(r);
    const int32_t target = op.targets[i];
    stand_ins_[i] = target == kElsewhere ? 0 : target;
    first_[i] = target == kIgnoreTarget ? 0 : load_scalar(op.logits, r, stand_ins_[i]);
  }
  backend_.cross_entropy({.logits = op.logits,
                          .targets = std::span(stand_ins_).first(static_cast<size_t>(rows)),
                          .losses = op.losses,
                          .grad_scale = op.grad_scale != 0 ? 1.0 : 0.0,
                          .softcap = op.softcap});
  backend_.synchronize();
  for (int64_t r = 0; r < rows; ++r) {
    const auto i = static_cast<size_t>(r);
    own_[2 * i] = load_scalar(op.losses, r, 0) + first_[i];
    own_[2 * i + 1] = op.targets[i] == kElsewhere ? 0 : first_[i];
  }
  const size_t each = 2 * static_cast<size_t>(rows);
  tp_.all_gather(own_.data(), all_.data(), each * sizeof(double));
  for (int64_t r = 0; r < rows; ++r) {
    const auto i = static_cast<size_t>(r);
    if (op.targets[i] == kIgnoreTarget) continue;  // loss and gradient are 0 already
    const auto parts = static_cast<size_t>(tp_.parts());
    double most = all_[2 * i], sum = 0, target = 0;
    for (size_t part = 1; part < parts; ++part) most = std::max(most, all_[part * each + 2 * i]);
    for (size_t part = 0; part < parts; ++part) {
      sum += std::exp(all_[part * each + 2 * i] - most);
      target += all_[part * each + 2 * i + 1];
    }
    finish_row(op, r, own_[2 * i], most + std::log(sum), target);
  }
}

/// The row holds slope * (own softmax - 1 at the stand-in), slope = 1 - (logit / cap)^2.
void ShardedLoss::finish_row(
    const CrossEntropy& op, int64_t row, double own_lse, double lse, double target) {
  store_scalar(op.losses, row, 0, lse - target + op.z_loss * lse * lse);
  if (op.grad_scale == 0) return;
  const auto i = static_cast<size_t>(row);
  const double weight = op.grad_scale * (1 + 2 * op.z_loss * lse);  // of the softmax
  scale_row(op.logits, row, weight * std::exp(own_lse - lse));
  // This one anew: what is left of it after 1 was taken away may be far smaller than 1.
  const double bent = op.softcap > 0 ? first_[i] / op.softcap : 0, slope = 1 - bent * bent;
  const double minus = op.targets[i] == kElsewhere ? 0 : op.grad_scale;
  store_scalar(op.logits, row, stand_ins_[i], slope * (weight * std::exp(first_[i] - lse) - minus));
}

}  // namespace isoflop
