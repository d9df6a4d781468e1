#include "tests/cuda/emulator.hpp"

namespace isoflop::test {

namespace {

constexpr size_t kStackBytes = size_t{64} << 10;
Fibers* running = nullptr;  // makecontext passes integers only

float half_of(uint32_t word, int half) {
  return to_float(bf16{static_cast<uint16_t>(word >> (16 * half))});
}

}  // namespace

void Fibers::enter() {
  Fibers& self = *running;
  (*self.body_)(self.current_);
  self.fibers_[static_cast<size_t>(self.current_)].done = true;
  --self.left_;
  ++self.progress_;
  // A thread that has ended is waited for no more.
  for (Barrier* barrier :
       {&self.block, &self.warps[static_cast<size_t>(self.current_) / gpu::kWarp]})
    if (--barrier->members > 0 && barrier->arrived == barrier->members) {
      barrier->arrived = 0;
      ++barrier->generation;
    }
  self.leave();
}

// Straight to the next thread: a way over the scheduler would double the system calls of a switch.
void Fibers::leave() {
  ucontext_t& here = fibers_[static_cast<size_t>(current_)].context;
  const int threads = static_cast<int>(fibers_.size());
  do {
    if (++turn_ == threads) {
      turn_ = 0;
      if (progress_ == progress_before_) left_ = kStuck;
      progress_before_ = progress_;
    }
    current_ = turns_ == Turns::ascending ? turn_ : threads - 1 - turn_;
  } while (left_ > 0 && fibers_[static_cast<size_t>(current_)].done);
  swapcontext(&here, left_ > 0 ? &fibers_[static_cast<size_t>(current_)].context : &scheduler_);
}

void Fibers::wait(Barrier& barrier) {
  if (++barrier.arrived == barrier.members) {
    barrier.arrived = 0;
    ++barrier.generation;
    ++progress_;
    return;
  }
  for (const uint64_t generation = barrier.generation; barrier.generation == generation;) leave();
}

void Fibers::run(int threads, Turns turns, const std::function<void(int)>& body) {
  running = this;
  body_ = &body;
  fibers_.resize(static_cast<size_t>(threads));
  block = {threads, 0, 0};
  warps.assign(static_cast<size_t>((threads + gpu::kWarp - 1) / gpu::kWarp), {});
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = fibers_[static_cast<size_t>(i)];
    fiber.done = false;
    fiber.stack.resize(kStackBytes);
    ++warps[static_cast<size_t>(i) / gpu::kWarp].members;
    getcontext(&fiber.context);
    fiber.context.uc_stack = {fiber.stack.data(), 0, fiber.stack.size()};
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &Fibers::enter, 0);
  }
  turns_ = turns;
  turn_ = 0;
  left_ = threads;
  progress_before_ = progress_;
  current_ = turns == Turns::ascending ? 0 : threads - 1;
  swapcontext(&scheduler_, &fibers_[static_cast<size_t>(current_)].context);
  if (left_ == kStuck) throw std::logic_error("threads wait at a barrier that not all reach");
}

const uint64_t* EmulatedThread::show(std::array<uint64_t, 3> words) {
  const auto warp = static_cast<size_t>(thread_ / gpu::kWarp);
  auto& shown = block_.shown[warp][static_cast<size_t>(turn_)];
  std::copy(words.begin(), words.end(), shown.begin() + 3 * lane());
  turn_ ^= 1;
  block_.fibers.wait(block_.fibers.warps[warp]);
  return shown.data();
}

void EmulatedThread::mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const uint64_t* shown =
      show({a[0] | uint64_t{a[1]} << 32, a[2] | uint64_t{a[3]} << 32, b0 | uint64_t{b1} << 32});
  const auto at = [&](int of, int reg) {
    return static_cast<uint32_t>(shown[3 * of + reg / 2] >> (32 * (reg % 2)));
  };
  for (int i = 0; i < 4; ++i) {
    const int row = lane() / 4 + 8 * (i / 2), col = lane() % 4 * 2 + i % 2;
    float sum = c[i];
    for (int k = 0; k < 16; ++k)
      sum += half_of(at(row % 8 * 4 + k % 8 / 2, row / 8 + k / 8 * 2), k % 2) *
             half_of(at(col * 4 + k % 8 / 2, 4 + k / 8), k % 2);
    c[i] = sum;
  }
}

void EmulatedThread::load_matrices(uint32_t (&r)[4], const bf16* row, bool transposed) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
    throw std::logic_error("a row of a matrix is not aligned to 16 bytes");
  const uint64_t* shown = show({reinterpret_cast<uintptr_t>(row), 0, 0});
  const auto element = [&](int matrix, int i, int j) {
    return uint32_t{reinterpret_cast<const bf16*>(shown[3 * (8 * matrix + i)])[j].bits};
  };
  const int major = lane() / 4, minor = lane() % 4 * 2;
  for (int m = 0; m < 4; ++m)
    r[m] = transposed ? element(m, minor, major) | element(m, minor + 1, major) << 16
                      : element(m, major, minor) | element(m, major, minor + 1) << 16;
}

}  // namespace isoflop::test
