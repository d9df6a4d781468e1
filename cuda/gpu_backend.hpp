// The GPU's Backend over a Device: kernels of this folder, products by the device's library.
// Activations are bf16; masters, gradients, moments and statistics fp32. `Device` is CudaDevice
// (cuda_device.hpp) or, in tests, an emulated one; it has
//   allocate, upload, download, fill_zero, synchronize, queue, description, multiply(Product),
//   fuses(Product, apart): whether a product with an epilogue is one call here rather than what
//     `apart` queues, which writes all it writes anew; attend(op, own): whether it queued attention
//     by a library rather than what `own` queues; choices, use_choices,
//   launch(Launch, kernel), scratch<T>(count): device memory until the next scratch,
//   send(span): host data on the device until the next send; receive(pointer, count): waits;
//   fetch(pointer, count): starts to receive doubles; fetched(): waits for those.
// Calls are queued in order on one stream. The host waits in download, receive, fetched and
// synchronize alone.
#pragma once
#include "cuda/activation.hpp"
#include "cuda/attention.hpp"
#include "cuda/embedding.hpp"
#include "cuda/loss.hpp"
#include "cuda/norm.hpp"
#include "cuda/optimizer.hpp"
#include "cuda/product.hpp"
#include "cuda/rope.hpp"
#include "cuda/rounding.hpp"
#include "ops/backend.hpp"
#include "ops/check.hpp"

#include <algorithm>
#include <deque>
#include <memory>
#include <utility>

namespace isoflop::gpu {

struct BiasGradientPart {
  static constexpr int kTerms = 1;
  Rows<const bf16> dy;

  ISOFLOP_KERNEL void add(int64_t r, int64_t c, float (&sums)[2]) const {
    sums[0] += load(dy.at(r, c));
  }
};

template <class Device>
class GpuBackend final : public Backend {
 public:
  template <class... Args>
  explicit GpuBackend(Args&&... args) : device_(std::forward<Args>(args)...) {}

  DType activation_dtype() const override { return DType::bf16; }
  DType state_dtype() const override { return DType::f32; }
  std::string description() const override { return device_.description(); }
  std::string choices() const override { return device_.choices(); }
  void use_choices(const std::string& lines) override { device_.use_choices(lines); }
  Device& device() { return device_; }

  Buffer allocate(size_t bytes, const std::string& what) override {
    // The buffer that is handed out owns the device's, and may outlive this.
    const auto inner = std::make_shared<Buffer>(device_.allocate(bytes, what));
    usage_->now += bytes;
    usage_->peak = std::max(usage_->peak, usage_->now);
    return Buffer(inner->data(), bytes, [inner, usage = usage_](void*) {
      usage->now -= inner->bytes();
      *inner = Buffer();
    });
  }
  size_t peak_bytes() const override { return usage_->peak; }
  void synchronize() override { device_.synchronize(); }
  void* queue() override { return device_.queue(); }
  bool in_host_memory() const override { return false; }
  void upload(View host, View here) override {
    check_same(host, here);
    ISOFLOP_CHECK(host.contiguous() && here.contiguous(), "an upload with gaps");
    device_.upload(host.data, here.data, here.bytes());
  }
  void download(View here, View host) override {
    check_same(here, host);
    ISOFLOP_CHECK(host.contiguous() && here.contiguous(), "a download with gaps");
    device_.download(here.data, host.data, here.bytes());
  }

  /// A weight in bf16, the form every product takes.
  WeightRef prepare(View master) override {
    ISOFLOP_CHECK(master && master.dtype == DType::f32, "a master weight in {}",
                  name_of(master.dtype));
    for (Weight& w : weights_)  // as on the CPU: a second model on the same masters shares it
      if (w.master.data == master.data && w.master.rows == master.rows &&
          w.master.cols == master.cols && w.master.stride == master.stride)
        return refreshed(w);
    weights_.push_back(
        {master, allocate(static_cast<size_t>(master.size()) * sizeof(bf16), "a weight in bf16")});
    return refreshed(weights_.back());
  }
  void refresh(WeightRef ref) override { refreshed(weight_of(ref)); }

  void embedding_forward(const EmbeddingForward& a) override {
    check(a);
    const View positions = a.positions.handle ? copy_of(a.positions) : View{};
    gpu::embedding_forward(device_, a, device_.send(a.tokens), copy_of(a.table), positions);
  }
  void embedding_backward(const EmbeddingBackward& a) override {
    check(a);
    groups_.group(a.tokens);
    gpu::embedding_backward(device_, a, groups_,
                            device_.send(std::span<const int32_t>(groups_.data)));
  }

  void matmul(const Matmul& a) override {
    check(a);
    device_.multiply(forward_product(a, copy_of(a.w), scaled(a.bias, a.scale)));
  }
  void matmul_grad_input(const MatmulGradInput& a) override {
    check(a);
    device_.multiply(input_product(a, copy_of(a.w)));
  }
  void matmul_grad_weight(const MatmulGradWeight& a) override {
    check(a);
    device_.multiply(weight_product(a));
    if (a.dbias)
      add_column_sums(device_, BiasGradientPart{rows_of<const bf16>(a.dy)}, a.dy.rows, a.dy.cols,
                      a.dbias.as<float>(), nullptr, static_cast<float>(a.scale));
  }

  void matmul_gelu(const MatmulGelu& a) override {
    check(a);
    const auto apart = [&] { Backend::matmul_gelu(a); };
    if (a.kind != Gelu::tanh) return apart();
    // Its scratch outlives the timing of `apart`, which writes the same bias to the same place.
    const Product whole = gelu_product(a, copy_of(a.w), scaled(a.bias, 1));
    device_.fuses(whole, apart) ? device_.multiply(whole) : apart();
  }
  void matmul_gelu_grad_input(const MatmulGeluGradInput& a) override {
    check(a);
    const auto apart = [&] { Backend::matmul_gelu_grad_input(a); };
    if (a.kind != Gelu::tanh) return apart();
    const Product whole = gelu_gradient_product(a, copy_of(a.w));
    device_.fuses(whole, apart) ? device_.multiply(whole) : apart();
  }

  void layernorm_forward(const LayerNormForward& a) override {
    check(a);
    norm_forward<true>(device_, a, a.bias, a.mean, a.inv_std);
  }
  void layernorm_backward(const LayerNormBackward& a) override {
    check(a);
    norm_backward<true>(device_, a, a.mean, a.inv_std, a.dbias);
  }
  void rmsnorm_forward(const RmsNormForward& a) override {
    check(a);
    norm_forward<false>(device_, a, {}, {}, a.inv_rms);
  }
  void rmsnorm_backward(const RmsNormBackward& a) override {
    check(a);
    norm_backward<false>(device_, a, {}, a.inv_rms, {});
  }

  void rope(const Rope& a) override {
    check(a);
    gpu::rope(device_, a);
  }
  void attention_forward(const AttentionForward& a) override {
    check(a);
    const auto own = [&] { gpu::attention_forward(device_, a, device_.send(a.first_keys)); };
    if (!device_.attend(a, own)) own();
  }
  void attention_backward(const AttentionBackward& a) override {
    check(a);
    const auto own = [&] { gpu::attention_backward(device_, a, device_.send(a.first_keys)); };
    if (!device_.attend(a, own)) own();
  }

  void gelu_forward(const GeluForward& a) override {
    check(a);
    gpu::gelu_forward(device_, a);
  }
  void gelu_backward(const GeluBackward& a) override {
    check(a);
    gpu::gelu_backward(device_, a);
  }
  void swiglu_forward(const SwigluForward& a) override {
    check(a);
    gpu::swiglu_forward(device_, a);
  }
  void swiglu_backward(const SwigluBackward& a) override {
    check(a);
    gpu::swiglu_backward(device_, a);
  }

  void softcap(const SoftCap& a) override {
    check(a);
    gpu::softcap(device_, a);
  }
  void cross_entropy(const CrossEntropy& a) override {
    check(a);
    gpu::cross_entropy(device_, a, device_.send(a.targets));
  }

  void round_to_blocks(const BlockRounding& a) override {
    check(a);
    gpu::round_to_blocks(device_, a);
  }
  void adamw(const AdamW& a) override { adamw_all({&a, 1}); }
  void adamw_all(std::span<const AdamW> list) override {
    for (const AdamW& a : list) check(a);
    gpu::adamw(device_, list, adamw_segments_);
  }
  /// From copies in bf16, as all products here; sums and c in fp32.
  void state_product(const StateProduct& p) override {
    check(p);
    const int64_t b_at = round_up(p.a.size(), int64_t{64});  // aligned for the library
    bf16* copies = device_.template scratch<bf16>(b_at + p.b.size());
    const View a = make_view(copies, p.a.rows, p.a.cols);
    const View b = make_view(copies + b_at, p.b.rows, p.b.cols);
    convert<float, bf16>(device_, p.a, a);
    convert<float, bf16>(device_, p.b, b);
    device_.multiply(product_of(p, a, b));
  }
  void weighted_sum(const WeightedSum& c) override {
    check(c);
    for_each_piece(device_, 1, c.y.size(), in_eights({c.x, c.y}),
                   WeightedSumPart{c.x.as<float>(), c.y.as<float>(), static_cast<float>(c.a),
                                   static_cast<float>(c.b)});
  }
  double sum_squares(View x) override { return sum_squares_all({&x, 1}); }
  double sum_squares_all(std::span<const View> list) override {
    const SquareChunks queued = square_chunks(device_, list, squares_segments_);
    const std::span<const double> chunks = device_.receive(queued.there, queued.count);
    double sum = 0;
    size_t next = 0;
    for (const View& x : list) {  // as if tensor after tensor
      double tensor = 0;
      for (int64_t chunk = 0; chunk < div_ceil(x.size(), kChunk); ++chunk) tensor += chunks[next++];
      sum += tensor;
    }
    return sum;
  }

  void chunk_squares(std::span<const View> list, View squares) override {
    int64_t chunks = 0;
    for (const View& x : list) chunks += div_ceil(x.size(), kChunk);
    ISOFLOP_CHECK(chunks == squares.size() && squares.contiguous(), "{} chunks, and room for {}",
                  chunks, squares.size());
    square_chunks(device_, list, squares_segments_, squares.as<double>());
  }
  double sum_chunks(std::span<const double> squares,
                    std::span<const int64_t> /*chunks*/) const override {
    return sum_as_on_device(squares);
  }

  bool keeps_numbers() const override { return true; }
  void add_sum(View x, View sum) override {
    ISOFLOP_CHECK(x.contiguous() && sum.size() == 1, "a sum of ({}, {})", x.rows, x.cols);
    gpu::add_sum(device_, x, sum);
  }
  void step_numbers(const StepNumbers& a) override {
    check(a);
    gpu::step_numbers(device_, a, squares_segments_);
  }
  void fetch(View numbers) override {
    ISOFLOP_CHECK(numbers.contiguous(), "numbers with gaps");
    device_.fetch(numbers.as<double>(), numbers.size());
  }
  View fetched() override {
    const std::span<const double> numbers = device_.fetched();
    return make_view(numbers.data(), 1, static_cast<int64_t>(numbers.size()));
  }

  void zero(View x) override {
    if (x.contiguous()) return device_.fill_zero(x.data, x.bytes());
    with_type(x.dtype, [&]<class T>() {
      for_each_piece(device_, x.rows, x.cols, in_eights({x}), ZeroPart<T>{rows_of<T>(x)});
    });
  }
  void copy(View from, View to) override { move(from, to, false); }
  void add(View from, View to) override { move(from, to, true); }

 private:
  struct Weight {
    View master;
    Buffer copy;
    View view() const { return make_view(copy.data(), DType::bf16, master.rows, master.cols); }
  };

  static Weight& weight_of(const WeightRef& w) {
    return *static_cast<Weight*>(const_cast<void*>(w.handle));
  }
  static View copy_of(const WeightRef& w) { return weight_of(w).view(); }
  WeightRef refreshed(Weight& w) {
    convert<float, bf16>(device_, w.master, w.view());
    return {w.master.rows, w.master.cols, &w};
  }
  /// A bias as cuBLASLt adds it: of the type of the result, until the next scratch.
  const bf16* scaled(View bias, double scale) {
    if (!bias) return nullptr;
    bf16* to = device_.template scratch<bf16>(bias.cols);
    convert<float, bf16>(device_, bias, make_view(to, 1, bias.cols), false,
                         static_cast<float>(scale));
    return to;
  }
  template <class F>
  static void with_type(DType dtype, F&& f) {
    if (dtype == DType::bf16)
      f.template operator()<bf16>();
    else if (dtype == DType::f32)
      f.template operator()<float>();
    else
      ISOFLOP_CHECK(false, "the GPU backend holds bf16 and f32, not {}", name_of(dtype));
  }
  void move(View from, View to, bool add) {
    check_same(from, to);
    with_type(from.dtype, [&]<class T>() { convert<T, T>(device_, from, to, add); });
  }

  struct Usage {
    size_t now = 0, peak = 0;  // bytes
  };

  std::shared_ptr<Usage> usage_ = std::make_shared<Usage>();
  Device device_;
  std::deque<Weight> weights_;  // addresses are handles, so they must not move
  TokenGroups groups_;
  std::vector<AdamWSegment> adamw_segments_;
  std::vector<SquaresSegment> squares_segments_;
};

}  // namespace isoflop::gpu
