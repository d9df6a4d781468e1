// Parameter buffers of a backend as host code sees them: in fp32, whatever moments are kept in.
// Where the backend computes in host memory and in fp32 nothing is copied, and host code works on
// the buffer itself.
#pragma once
#include "ops/backend.hpp"

#include <algorithm>
#include <string>
#include <utility>

namespace isoflop {

/// For buffers in the backend's own memory, which outlives none of them.
inline Allocate allocator_of(Backend& backend) {
  return
      [&backend](size_t bytes, const std::string& what) { return backend.allocate(bytes, what); };
}

/// A contiguous tensor in bf16 from one in fp32, to the nearest, both in host memory.
inline void narrow(View from, View to) {
  std::transform(from.as<float>(), from.as<float>() + from.size(), to.as<bf16>(), to_bf16);
}
/// The other way. `from` may be the second half of `to`'s memory.
inline void widen(View from, View to) {
  const bf16* values = from.as<bf16>();
  float* wide = to.as<float>();
  for (int64_t i = 0; i < from.size(); ++i) wide[i] = to_float(values[i]);
}

/// What host code is about to write: fill *copy, then send(). Starts as zeros where it is a copy.
class HostCopy {
 public:
  /// Both outlive it.
  HostCopy(Backend& backend, ParamBuffer& there, std::string what)
      : backend_(backend),
        there_(there),
        what_(std::move(what)),
        narrow_(there.flat().dtype == DType::bf16),
        copied_(narrow_ || !backend.in_host_memory()) {
    backend.synchronize();
    if (copied_) copy_ = there.twin_on_host(what_, narrow_ ? DType::f32 : there.flat().dtype);
  }
  ParamBuffer& operator*() { return copied_ ? copy_ : there_; }
  void send() {
    if (!copied_) return;
    if (narrow_) {
      const ParamBuffer narrowed = there_.twin_on_host(what_);
      for (size_t i = 0; i < copy_.count(); ++i)
        if (copy_[i]) narrow(copy_[i], narrowed[i]);
      copy_ = ParamBuffer();
      backend_.upload(narrowed.flat(), there_.flat());
    } else {
      backend_.upload(copy_.flat(), there_.flat());
    }
  }

 private:
  Backend& backend_;
  ParamBuffer& there_;
  std::string what_;
  bool narrow_, copied_;
  ParamBuffer copy_;
};

/// read(the buffer as it is now, in host memory).
template <class Read>
decltype(auto) read_on_host(Backend& backend, const ParamBuffer& there, Read&& read) {
  backend.synchronize();
  if (backend.in_host_memory()) return std::forward<Read>(read)(there);
  const ParamBuffer copy = there.twin_on_host("a copy of the parameters");
  backend.download(there.flat(), copy.flat());
  return std::forward<Read>(read)(copy);
}

}  // namespace isoflop
