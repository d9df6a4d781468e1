// Buffer owns memory of one device; Arena hands out pieces of one planned Buffer.
#pragma once
#include "core/view.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

namespace isoflop {

inline constexpr size_t kAlignment = 64;  // bytes; a cache line and an AVX-512 register

/// Owning, move-only. `release` knows how the device frees it.
class Buffer {
 public:
  Buffer() = default;
  Buffer(void* data, size_t bytes, std::function<void(void*)> release)
      : data_(data), bytes_(bytes), release_(std::move(release)) {}
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(release_, other.release_);
    return *this;
  }
  ~Buffer() {
    if (data_) release_(data_);
  }
  std::byte* data() const { return static_cast<std::byte*>(data_); }
  size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  size_t bytes_ = 0;
  std::function<void(void*)> release_;
};

/// Zeroed host memory aligned to kAlignment. Large ones ask for huge pages, which come into being
/// when they are first written to. Throws IoError naming `what` when the machine has not enough.
Buffer allocate_host(size_t bytes, const std::string& what);

/// Stack-like scratch within one region. take() is pointer arithmetic, so it may be called within a
/// step; what a Scope took is returned when it ends. With no region (plan mode) it hands out null
/// views and only measures, which is how the region's size is found before the first step.
class Arena {
 public:
  Arena() = default;
  Arena(void* base, size_t capacity) : base_(static_cast<std::byte*>(base)), capacity_(capacity) {}

  View take(DType dtype, int64_t rows, int64_t cols) {
    const size_t bytes = aligned(static_cast<size_t>(rows * cols) * size_of(dtype));
    ISOFLOP_CHECK(!base_ || used_ + bytes <= capacity_, "arena of {} bytes is too small",
                  capacity_);
    std::byte* at = base_ ? base_ + used_ : nullptr;
    used_ += bytes;
    if (used_ > high_water_) high_water_ = used_;
    return make_view(at, dtype, rows, cols);
  }
  size_t used() const { return used_; }
  size_t high_water() const { return high_water_; }
  static size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), mark_(arena.used_) {}
    ~Scope() { arena_.used_ = mark_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    size_t mark_;
  };

 private:
  std::byte* base_ = nullptr;
  size_t capacity_ = 0;
  size_t used_ = 0;
  size_t high_water_ = 0;
};

}  // namespace isoflop
