#include "formats/llama2c.hpp"

#include "core/error.hpp"
#include "core/math.hpp"

#include <cstring>

namespace isoflop {

namespace {

using T = Llama2cTensor;

constexpr uint32_t kMagic = 0x616b3432;  // "ak42"
constexpr size_t kShortHeader = 7 * 4, kLongHeader = 256;
constexpr int64_t kMostWidth = 1 << 20, kMostLayers = 4096, kMostContext = 1 << 24;

constexpr T kOrder0[] = {T::embedding, T::norm1, T::q,    T::k,  T::v,   T::out,
                         T::norm2,     T::gate,  T::down, T::up, T::norm};
constexpr T kOrder1[] = {T::norm1, T::norm2, T::norm, T::embedding, T::q, T::k,
                         T::v,     T::out,   T::gate, T::down,      T::up};

int32_t load_i32(const std::byte* at) {
  int32_t value;
  std::memcpy(&value, at, sizeof(value));
  return value;
}

}  // namespace

Llama2cFile::Llama2cFile(const fs::path& path) : file_(path), origin_(path.string()) {
  read({file_.data(), file_.size()});
}

Llama2cFile::Llama2cFile(std::span<const std::byte> bytes, std::string origin)
    : origin_(std::move(origin)) {
  read(bytes);
}

bool Llama2cFile::looks_like_llama2c(const fs::path& path) {
  try {
    Llama2cFile file(path);
    return true;
  } catch (const Error&) {
    return false;
  }
}

void Llama2cFile::read(std::span<const std::byte> bytes) {
  if (bytes.size() < kShortHeader)
    fail_format("{}: {} bytes are too few for the header of a llama2.c model", origin_,
                bytes.size());
  int version = 0;
  size_t header = kShortHeader;
  const std::byte* numbers = bytes.data();
  if (static_cast<uint32_t>(load_i32(bytes.data())) == kMagic) {
    version = load_i32(bytes.data() + 4);
    if (version != 1)
      fail_format("{}: version {} of llama2.c's format is not read, only the F32 versions 0 and 1",
                  origin_, version);
    if (bytes.size() < kLongHeader)
      fail_format("{}: {} bytes are too few for the header of version 1", origin_, bytes.size());
    header = kLongHeader;
    numbers = bytes.data() + 8;
  }
  const auto number = [&](int index, const char* name, int64_t most) {
    const int64_t value = load_i32(numbers + 4 * index);
    if (value < 1 || value > most)
      fail_format("{}: {} is {}, not within 1 to {}", origin_, name, value, most);
    return value;
  };
  dim = number(0, "dim", kMostWidth);
  hidden = number(1, "hidden_dim", kMostWidth);
  layers = number(2, "n_layers", kMostLayers);
  heads = number(3, "n_heads", kMostWidth);
  kv_heads = number(4, "n_kv_heads", kMostWidth);
  const int64_t rows = load_i32(numbers + 20);
  vocabulary = rows < 0 ? -rows : rows;
  if (vocabulary < 1 || vocabulary > kMostContext)
    fail_format("{}: vocab_size is {}", origin_, rows);
  shared_head = version == 0 ? rows > 0 : bytes[8 + 28] != std::byte{0};
  context = number(6, "seq_len", kMostContext);
  if (dim % heads != 0 || heads % kv_heads != 0 || head_dim() % 2 != 0)
    fail_format("{}: {} heads on {} key heads do not divide a width of {} into even parts", origin_,
                heads, kv_heads, dim);
  lay_out(bytes.subspan(header), version);
}

bool Llama2cFile::once(T kind) const {
  return kind == T::embedding || kind == T::norm || kind == T::head;
}

int64_t Llama2cFile::elements(T kind) const {
  switch (kind) {
    case T::embedding:
    case T::head:
      return vocabulary * dim;
    case T::norm1:
    case T::norm2:
    case T::norm:
      return dim;
    case T::q:
    case T::out:
      return dim * dim;
    case T::k:
    case T::v:
      return kv_heads * head_dim() * dim;
    case T::gate:
    case T::down:
    case T::up:
      return hidden * dim;
  }
  return 0;
}

// The numbers are small enough (2^24 x 2^20 x 2^12 elements of 4 bytes at most) for no product to
// overflow.
void Llama2cFile::lay_out(std::span<const std::byte> data, int version) {
  uint64_t at = 0;
  const auto place = [&](T kind) {
    first_[static_cast<size_t>(kind)] = data.data() + std::min<uint64_t>(at, data.size());
    at += static_cast<uint64_t>(elements(kind) * (once(kind) ? 1 : layers)) * sizeof(float);
  };
  for (const T kind : version == 0 ? kOrder0 : kOrder1) place(kind);
  if (version == 0) at += static_cast<uint64_t>(context * head_dim()) * sizeof(float);
  if (!shared_head) place(T::head);
  if (at != data.size())
    fail_format("{}: the header asks for {} bytes of tensors, the file has {}", origin_, at,
                data.size());
}

std::span<const std::byte> Llama2cFile::tensor(T kind, int64_t layer) const {
  const std::byte* first = first_[static_cast<size_t>(kind)];
  ISOFLOP_CHECK(first && layer >= 0 && layer < (once(kind) ? 1 : layers), "no such tensor");
  const size_t bytes = static_cast<size_t>(elements(kind)) * sizeof(float);
  return {first + static_cast<size_t>(layer) * bytes, bytes};
}

}  // namespace isoflop
