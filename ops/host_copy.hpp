// Parameter buffers of a backend as host code sees them. Where the backend computes in host memory
// nothing is copied, and host code works on the buffer itself.
#pragma once
#include "ops/backend.hpp"

#include <utility>

namespace isoflop {

/// For buffers in the backend's own memory, which outlives none of them.
inline Allocate allocator_of(Backend& backend) {
  return
      [&backend](size_t bytes, const std::string& what) { return backend.allocate(bytes, what); };
}

/// What host code is about to write: fill *copy, then send(). Starts as zeros where it is a copy.
class HostCopy {
 public:
  /// Both outlive it.
  HostCopy(Backend& backend, ParamBuffer& there, const std::string& what)
      : backend_(backend), there_(there) {
    backend.synchronize();
    if (!backend.in_host_memory()) copy_ = there.twin_on_host(what);
  }
  ParamBuffer& operator*() { return backend_.in_host_memory() ? there_ : copy_; }
  void send() {
    if (!backend_.in_host_memory()) backend_.upload(copy_.flat(), there_.flat());
  }

 private:
  Backend& backend_;
  ParamBuffer& there_;
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
