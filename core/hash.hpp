// Content hashes (XXH3, 64 bits): fast enough to run over every parameter of a run.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace isoflop {

uint64_t hash_bytes(const void* data, size_t bytes);
inline uint64_t hash_text(std::string_view text) {
  return hash_bytes(text.data(), text.size());
}
/// 128 bits, where billions of contents must not collide.
struct Hash128 {
  uint64_t high = 0, low = 0;
  bool operator==(const Hash128&) const = default;
};
Hash128 hash128(std::string_view text);
std::string hash_hex(uint64_t hash);  // 16 lower-case digits

class Hasher {
 public:
  Hasher();
  ~Hasher();
  void update(const void* data, size_t bytes);
  uint64_t digest() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace isoflop
