#include "ops/backend.hpp"

#include "ops/check.hpp"

#include <cstring>

namespace isoflop {

namespace {

void copy_bytes(View from, View to) {
  check_same(from, to);
  ISOFLOP_CHECK(from.contiguous() && to.contiguous(),
                "a tensor with gaps moves to or from a device");
  if (from.data != to.data) std::memcpy(to.data, from.data, from.bytes());
}

}  // namespace

void Backend::upload(View host, View here) {
  copy_bytes(host, here);
}

void Backend::download(View here, View host) {
  synchronize();
  copy_bytes(here, host);
}

}  // namespace isoflop
