#include "core/hash.hpp"

#include <fmt/format.h>
#include <xxhash.h>

namespace isoflop {

struct Hasher::State {
  XXH3_state_t* state = XXH3_createState();
  ~State() { XXH3_freeState(state); }
};

uint64_t hash_bytes(const void* data, size_t bytes) {
  return XXH3_64bits(data, bytes);
}
Hash128 hash128(std::string_view text) {
  const XXH128_hash_t hash = XXH3_128bits(text.data(), text.size());
  return {hash.high64, hash.low64};
}
std::string hash_hex(uint64_t hash) {
  return fmt::format("{:016x}", hash);
}

Hasher::Hasher() : state_(std::make_unique<State>()) {
  XXH3_64bits_reset(state_->state);
}
Hasher::~Hasher() = default;
void Hasher::update(const void* data, size_t bytes) {
  XXH3_64bits_update(state_->state, data, bytes);
}
uint64_t Hasher::digest() const {
  return XXH3_64bits_digest(state_->state);
}

}  // namespace isoflop
