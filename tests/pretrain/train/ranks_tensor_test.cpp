// Ranks that share each matrix (parallel.tp): the step is that of one rank but for rounding, and
// the same bits whenever the matrices are cut alike. CTest starts this under mpirun.
#include "pretrain/model/sharded_loss.hpp"
#include "tests/pretrain/train/ranks_rig.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace isoflop {
namespace {

using namespace test;

/// A model that four ranks can share, with a vocabulary that they cannot share evenly.
RunConfig shared_run(Arch arch, bool tied, int tp, int pp = 1) {
  RunConfig c = tiny_run(arch, tied);
  c.model.heads = 4;
  c.model.kv_heads = arch == Arch::llama && tp == 2 ? 2 : 4;
  c.model.head_dim = 12;
  c.model.rotary_fraction = arch == Arch::gpt3 ? 0 : arch == Arch::pythia ? 0.5 : 1;
  c.model.vocabulary = 603;
  c.parallel.tp = tp;
  c.parallel.pp = pp;
  return c;
}

/// One slot more than copies; windows of an odd length, so that slices differ.
BatchPlan plan(int64_t micro_batches = 1) {
  return {.slots = ranks().size() / 2 + 1,
          .micro_batches = micro_batches,
          .micro_batch = 1,
          .context = 15};
}

/// Numbers of parts that our ranks can make.
std::vector<int> parts() {
  std::vector<int> some;
  for (const int tp : {2, 4})
    if (ranks().size() % tp == 0) some.push_back(tp);
  return some;
}

/// Relative to the norm of `expected`, over all tensors; at the first rank, else 0.
double distance(Rig& alone, Rig& shared, const ParamBuffer& expected, const ParamBuffer& got) {
  double difference = 0, size = 0;
  shared.step.visit_all(got, [&](size_t i, View value) {
    EXPECT_EQ(value.rows, alone.table[i].rows) << alone.table[i].name;
    EXPECT_EQ(value.cols, alone.table[i].cols) << alone.table[i].name;
    for (int64_t r = 0; r < value.rows; ++r)
      for (int64_t c = 0; c < value.cols; ++c) {
        const double e = load_scalar(expected[i], r, c), d = load_scalar(value, r, c) - e;
        difference += d * d;
        size += e * e;
      }
  });
  return size > 0 ? std::sqrt(difference / size) : 0;
}

/// Trains alone and together; nothing may be further apart than `bound`, relatively.
void compare_steps(const RunConfig& config, DType activation, double bound, int steps = 2) {
  RunConfig single = config;
  single.parallel = {};
  Rig alone(single, plan(), activation, nullptr), shared(config, plan(), activation, &ranks());
  for (int64_t step = 0; step < steps; ++step) {
    const StepResult a = alone.step.run(step, 1e-3, kRandomTokens);
    const StepResult b = shared.step.run(step, 1e-3, kRandomTokens);
    EXPECT_NEAR(b.loss / a.loss, 1, bound) << step;
    EXPECT_NEAR(b.grad_norm / a.grad_norm, 1, bound) << step;
    EXPECT_GT(a.grad_norm, config.optimizer.clip);
    // The same number at every rank, so that all of them decide alike.
    std::vector<double> norms(static_cast<size_t>(ranks().size()));
    ranks().all_gather(&b.grad_norm, norms.data(), sizeof(double));
    for (const double norm : norms) EXPECT_EQ(norm, b.grad_norm);
  }
  EXPECT_LE(distance(alone, shared, alone.step.parameters, shared.step.parameters), bound);
  alone.step.compute(steps, kRandomTokens);
  shared.step.compute(steps, kRandomTokens);
  shared.step.gather_gradients();
  EXPECT_LE(distance(alone, shared, alone.step.gradients(), shared.step.gradients()), bound);
}

// In double nothing is left but what would be wrong: every product, sum, norm, bias, loss and
// update. 1e-12 is 10^4 roundings.
TEST(RanksTensor, TakeTheStepOfOneInDouble) {
  for (const int tp : parts())
    for (const Arch arch : {Arch::gpt3, Arch::pythia, Arch::llama})
      for (const bool tied : {true, false})
        compare_steps(shared_run(arch, tied, tp), DType::f64, 1e-12);
}

TEST(RanksTensor, TakeTheStepOfOneInDoubleWithEveryOption) {
  for (const int tp : parts()) {
    RunConfig config = shared_run(Arch::llama, false, tp);
    config.model.qk_norm = true;
    config.model.z_loss = 1e-2;
    config.model.logit_softcap = 5;
    config.model.document_mask = true;
    config.model.separator = 5;
    config.compute.recompute = "block";
    config.model.embedding_multiplier = 1.3;
    config.model.residual_multiplier = 0.7;
    config.model.output_multiplier = 0.9;
    compare_steps(config, DType::f64, 1e-12);
    config = shared_run(Arch::pythia, false, tp);
    config.compute.recompute = "ffn";
    config.model.biases = false;
    compare_steps(config, DType::f64, 1e-12);
  }
}

TEST(RanksTensor, TakeTheStepOfOneInDoubleAsStagesOfAPipeline) {
  for (const int tp : parts())
    if (ranks().size() % (2 * tp) == 0)
      for (const Arch arch : {Arch::gpt3, Arch::llama})
        for (const bool tied : {true, false})
          compare_steps(shared_run(arch, tied, tp, 2), DType::f64, 1e-12);
}

// A product's sum over the inputs is made in tp pieces; each rounding is 2^-24 of a sum of up to
// 320 terms, and those of two steps add up. Measured on two and four ranks: losses within 1e-8,
// norms 8.1e-8, parameters 5.5e-7, gradients 2.4e-6.
TEST(RanksTensor, TakeTheStepOfOneButForRounding) {
  for (const int tp : parts())
    for (const Arch arch : {Arch::gpt3, Arch::pythia, Arch::llama})
      compare_steps(shared_run(arch, arch == Arch::gpt3, tp), DType::f32, 1e-5);
}

// In bf16 a rank's piece of a sum is rounded before it is added to the others'. That may move a
// gradient as far as bf16 itself moves it away from fp32's, but not much further: as two errors of
// one size that know nothing of each other.
TEST(RanksTensor, TakeTheStepOfOneInBf16ButForItsRounding) {
  for (const int tp : parts())
    for (const Arch arch : {Arch::gpt3, Arch::pythia, Arch::llama}) {
      const RunConfig config = shared_run(arch, false, tp);
      RunConfig single = config;
      single.parallel = {};
      Rig exact(single, plan(), DType::f32, nullptr), alone(single, plan(), DType::bf16, nullptr);
      Rig shared(config, plan(), DType::bf16, &ranks());
      for (Rig* rig : {&exact, &alone, &shared}) rig->step.compute(0, kRandomTokens);
      shared.step.gather_gradients();
      const double together =
          distance(exact, shared, exact.step.gradients(), shared.step.gradients());
      double difference = 0, size = 0;
      for (size_t i = 0; i < exact.table.size(); ++i) {
        const View e = exact.step.gradients()[i], a = alone.step.gradients()[i];
        for (int64_t r = 0; r < e.rows; ++r)
          for (int64_t c = 0; c < e.cols; ++c) {
            const double d = load_scalar(a, r, c) - load_scalar(e, r, c);
            difference += d * d;
            size += load_scalar(e, r, c) * load_scalar(e, r, c);
          }
      }
      EXPECT_LE(together, std::sqrt(2.0) * std::sqrt(difference / size));
    }
}

/// Two groups of ranks whose matrices are cut alike: whatever both hold of a tensor is the same.
void expect_same_bits(Rig& a, Rig& b) {
  a.step.settle();
  b.step.settle();
  int compared = 0;
  for (size_t i = 0; i < a.table.size(); ++i) {
    const View x = a.step.parameters[i], y = b.step.parameters[i];
    if (!x || !y) continue;
    ++compared;
    EXPECT_TRUE(same(x, y)) << a.table[i].name;
  }
  EXPECT_GT(compared, 3);
}

// Four ranks as two copies, or two stages, of two parts, against each pair on its own.
TEST(RanksTensor, CopiesAndStagesDoNotChangeTheBits) {
  const int pairs = ranks().size() / 2;
  if (ranks().size() % 2 != 0 || pairs < 2) return;
  const std::unique_ptr<Communicator> pair = ranks().split(ranks().rank() / 2, ranks().rank());
  for (const DType activation : {DType::f32, DType::bf16})
    for (const Arch arch : {Arch::gpt3, Arch::llama})
      for (const int pp : {1, 2}) {
        if (pairs % pp != 0) continue;
        RunConfig one = shared_run(arch, arch == Arch::gpt3, 2), many = one;
        many.parallel.pp = pp;
        const BatchPlan batch = plan(2);
        Rig small(one, batch, activation, pair.get()), large(many, batch, activation, &ranks());
        for (int64_t step = 0; step < 2; ++step) {
          const StepResult a = small.step.run(step, 1e-2, kRandomTokens);
          const StepResult b = large.step.run(step, 1e-2, kRandomTokens);
          EXPECT_EQ(a.loss, b.loss);
          EXPECT_EQ(a.grad_norm, b.grad_norm);
        }
        expect_same_bits(small, large);
      }
}

TEST(RanksTensor, RecomputationAndAnotherRunDoNotChangeTheBits) {
  for (const int tp : parts())
    for (const Arch arch : {Arch::gpt3, Arch::pythia, Arch::llama}) {
      RunConfig config = shared_run(arch, false, tp);
      Rig first(config, plan(), DType::f32, &ranks());
      const double loss = first.step.run(0, 1e-2, kRandomTokens).loss;
      for (const char* level : {"none", "ffn", "block"}) {
        config.compute.recompute = level;
        Rig again(config, plan(), DType::f32, &ranks());
        EXPECT_EQ(again.step.run(0, 1e-2, kRandomTokens).loss, loss);
        expect_same_bits(first, again);
      }
    }
}

TEST(RanksTensor, ScoreWindowsOfAnyLength) {
  for (const int tp : parts()) {
    const RunConfig config = shared_run(Arch::pythia, false, tp);
    RunConfig single = config;
    single.parallel = {};
    Rig alone(single, plan(), DType::f64, nullptr), shared(config, plan(), DType::f64, &ranks());
    std::vector<int32_t> tokens, targets;
    for (uint64_t i = 0; i < 15; ++i) {
      tokens.push_back(static_cast<int32_t>(philox(4, i, 0)[0] % 603));
      targets.push_back(i == 2 ? kIgnoreTarget : static_cast<int32_t>(philox(4, i, 1)[0] % 603));
    }
    for (const size_t length : {15, 7, 3, 1}) {  // of one token, most ranks have none
      const Batch batch{1, static_cast<int64_t>(length), std::span(tokens).first(length),
                        std::span(targets).first(length)};
      const double expected = alone.step.evaluate(batch);
      EXPECT_NEAR(shared.step.evaluate(batch) / expected, 1, 1e-13) << length;
    }
  }
}

TEST(RanksTensor, SkipTheSameStep) {
  for (const int tp : parts()) {
    Rig shared(shared_run(Arch::gpt3, true, tp), plan(), DType::f32, &ranks());
    const size_t row = static_cast<size_t>(find_param(shared.table, "blocks.0.mlp.down.weight"));
    const View weight = shared.step.parameters[row];
    const bool poisons = ranks().rank() == ranks().size() - 1;  // one part of one copy
    shared.step.run(0, 1e-2, kRandomTokens);
    shared.step.settle();
    const float before = weight.row<float>(0)[0];
    if (poisons) weight.row<float>(0)[0] = std::numeric_limits<float>::infinity();
    shared.step.refresh_weights();
    EXPECT_TRUE(shared.step.run(1, 1e-2, kRandomTokens).skipped);
    weight.row<float>(0)[0] = before;
    shared.step.refresh_weights();
    EXPECT_FALSE(shared.step.run(2, 1e-2, kRandomTokens).skipped);
    EXPECT_EQ(shared.step.updates, 2);
    shared.step.settle();
  }
}

// Everything that is cut is stored once over the parts; moments over the copies, too.
TEST(RanksTensor, HoldOnlyTheirPart) {
  for (const int tp : parts()) {
    Rig shared(shared_run(Arch::llama, false, tp), plan(), DType::f32, &ranks());
    int64_t replicated = 0, cut = 0;
    for (const ParamSpec& spec : shared.table)
      (spec.placement == Placement::replicated ? replicated : cut) += spec.size();
    int64_t held = 0, moments = 0;
    for (size_t i = 0; i < shared.table.size(); ++i) {
      held += shared.step.parameters[i].size();
      moments += shared.step.optimizer.m[i].size();
    }
    const auto sum = [](int64_t mine) {
      int64_t all = 0;
      for (const int64_t one : ranks().gather(mine)) all += one;
      return all;
    };
    EXPECT_EQ(sum(held), cut * ranks().size() / tp + replicated * ranks().size());
    EXPECT_EQ(sum(moments), cut + replicated * tp);
  }
}

/// The loss and gradient of logits that each rank has some columns of, against the definition in
/// double over all of them.
void compare_loss(TensorParallel& tp, int64_t vocabulary, double spread, double z, double cap) {
  constexpr int64_t kRows = 33;
  constexpr double kGradScale = 0.125;
  const RowRange mine = part_of(vocabulary, tp.part(), tp.parts());
  std::vector<double> whole(static_cast<size_t>(kRows * vocabulary)), exact_losses(kRows);
  std::vector<float> part(static_cast<size_t>(kRows * mine.count)), losses(kRows);
  std::vector<int32_t> targets, own;
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t c = 0; c < vocabulary; ++c) {
      double x = spread * normal01(9, r, static_cast<uint64_t>(c));
      if (cap > 0) x = cap * std::tanh(x / cap);
      const auto rounded = static_cast<float>(x);
      whole[static_cast<size_t>(r * vocabulary + c)] = rounded;
      if (c >= mine.first && c < mine.first + mine.count)
        part[static_cast<size_t>(r * mine.count + c - mine.first)] = rounded;
    }
    const auto target = static_cast<int32_t>(philox(8, r, 0)[0] % vocabulary);
    targets.push_back(r % 5 == 1 ? kIgnoreTarget : target);
    const bool ours = target >= mine.first && target < mine.first + mine.count;
    own.push_back(r % 5 == 1 ? kIgnoreTarget
                  : ours     ? target - static_cast<int32_t>(mine.first)
                             : kElsewhere);
  }
  make_reference_backend(DType::f64)
      ->cross_entropy({.logits = make_view(whole.data(), kRows, vocabulary),
                       .targets = targets,
                       .losses = make_view(exact_losses.data(), kRows, 1),
                       .grad_scale = kGradScale,
                       .z_loss = z,
                       .softcap = cap});
  ThreadTeam team(1);
  const std::unique_ptr<Backend> backend = make_cpu_backend(team, DType::f32);
  ShardedLoss loss(tp, *backend, kRows);
  loss.cross_entropy({.logits = make_view(part.data(), kRows, mine.count),
                      .targets = own,
                      .losses = make_view(losses.data(), kRows, 1),
                      .grad_scale = kGradScale,
                      .z_loss = z,
                      .softcap = cap});
  // As the op's own test: a logit's rounding is its relative error in exp, and sums of V terms.
  const double bound =
      0x1p-24 * (8 + std::sqrt(static_cast<double>(vocabulary))) * (1 + 5 * spread);
  for (int64_t r = 0; r < kRows; ++r) {
    const auto i = static_cast<size_t>(r);
    EXPECT_NEAR(losses[i], exact_losses[i], bound * (1 + std::abs(exact_losses[i]))) << r;
    for (int64_t c = 0; c < mine.count; ++c)
      EXPECT_NEAR(part[static_cast<size_t>(r * mine.count + c)],
                  whole[static_cast<size_t>(r * vocabulary + mine.first + c)], bound * kGradScale)
          << r << " " << c;
  }
}

TEST(RanksTensor, LossOfASharedVocabularyAgreesWithTheDefinition) {
  ThreadTeam team(1);
  const std::unique_ptr<Backend> backend = make_cpu_backend(team, DType::f32);
  TensorParallel tp(ranks().split(0, ranks().rank()), *backend, 1, 1);
  for (const int64_t vocabulary : {8, 97, 1031}) {
    compare_loss(tp, vocabulary, 1, 0, 0);
    compare_loss(tp, vocabulary, 20, 0, 0);
    compare_loss(tp, vocabulary, 4, 1e-2, 5);
  }
}

}  // namespace
}  // namespace isoflop
