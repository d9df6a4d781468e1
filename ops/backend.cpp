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

void Backend::matmul_gelu(const MatmulGelu& a) {
  matmul({.x = a.x, .w = a.w, .bias = a.bias, .add = {}, .y = a.pre});
  gelu_forward({.x = a.pre, .y = a.y, .kind = a.kind});
}

void Backend::matmul_gelu_grad_input(const MatmulGeluGradInput& a) {
  matmul_grad_input({.dy = a.dy, .w = a.w, .dx = a.dx, .scale = a.scale});
  gelu_backward({.dy = a.dx, .x = a.pre, .dx = a.dx, .kind = a.kind});
}

}  // namespace isoflop
