// gzip, zstd and xz behind one small interface.
#include "core/error.hpp"
#include "datasets/text_input.hpp"

#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>

namespace isoflop {

namespace {

// The libraries count in 32 bits or take what they are given; steps stay far below that.
constexpr size_t kMostStep = 1 << 20;

class GzipUnpacker final : public Unpacker {
 public:
  GzipUnpacker() {
    if (inflateInit2(&stream_, kGzipWindow) != Z_OK) fail_io("zlib cannot be started");
  }
  ~GzipUnpacker() override { inflateEnd(&stream_); }

  Step step(std::span<const char> in, std::span<char> out) override {
    if (ended_ && !in.empty()) {
      // Behind a member zeros may pad to a block's end (tape archives do); else another follows.
      const auto text = std::find_if(in.begin(), in.end(), [](char c) { return c != 0; });
      const auto zeros = static_cast<size_t>(text - in.begin());
      if (zeros > 0) return {zeros, 0};
      inflateReset(&stream_);
      ended_ = false;
    }
    if (ended_) return {};
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    stream_.avail_in = static_cast<uInt>(std::min(in.size(), kMostStep));
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(std::min(out.size(), kMostStep));
    const uInt in_before = stream_.avail_in, out_before = stream_.avail_out;
    const int result = inflate(&stream_, Z_NO_FLUSH);
    if (result == Z_MEM_ERROR) fail_io("zlib has no memory");
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
      fail_user("the gzip data is damaged ({})", stream_.msg ? stream_.msg : "no reason given");
    ended_ = result == Z_STREAM_END;
    return {in_before - stream_.avail_in, out_before - stream_.avail_out};
  }
  bool between_members() const override { return ended_; }

 private:
  static constexpr int kGzipWindow = 15 + 16;  // the largest window, gzip's header
  z_stream stream_ = {};
  bool ended_ = false;
};

class ZstdUnpacker final : public Unpacker {
 public:
  ZstdUnpacker() : stream_(ZSTD_createDStream()) {
    if (!stream_) fail_io("zstd cannot be started");
    ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, kWindowLog);
  }
  ~ZstdUnpacker() override { ZSTD_freeDStream(stream_); }

  Step step(std::span<const char> in, std::span<char> out) override {
    if (ended_ && in.empty()) return {};
    ZSTD_inBuffer from = {in.data(), in.size(), 0};
    ZSTD_outBuffer to = {out.data(), out.size(), 0};
    const size_t result = ZSTD_decompressStream(stream_, &to, &from);
    if (ZSTD_isError(result))
      fail_user("the zstd data is damaged or needs more than {} MB ({})", (1 << kWindowLog) >> 20,
                ZSTD_getErrorName(result));
    ended_ = result == 0;
    return {from.pos, to.pos};
  }
  bool between_members() const override { return ended_; }

 private:
  static constexpr int kWindowLog = 27;
  ZSTD_DStream* stream_;
  bool ended_ = false;
};

class XzUnpacker final : public Unpacker {
 public:
  XzUnpacker() {
    if (lzma_stream_decoder(&stream_, kMemory, LZMA_CONCATENATED) != LZMA_OK)
      fail_io("liblzma cannot be started");
  }
  ~XzUnpacker() override { lzma_end(&stream_); }

  Step step(std::span<const char> in, std::span<char> out) override {
    if (ended_) {
      if (!in.empty()) fail_user("there is something else behind the xz data");
      return {};
    }
    stream_.next_in = reinterpret_cast<const uint8_t*>(in.data());
    stream_.avail_in = in.size();
    stream_.next_out = reinterpret_cast<uint8_t*>(out.data());
    stream_.avail_out = out.size();
    // Nothing more to give: the library says whether a stream may end here.
    const lzma_ret result = lzma_code(&stream_, in.empty() ? LZMA_FINISH : LZMA_RUN);
    if (result == LZMA_MEM_ERROR) fail_io("liblzma has no memory");
    if (result == LZMA_MEMLIMIT_ERROR)
      fail_user("the xz data needs more than {} MB", kMemory >> 20);
    if (result != LZMA_OK && result != LZMA_STREAM_END && result != LZMA_BUF_ERROR)
      fail_user("the xz data is damaged (liblzma's error {})", static_cast<int>(result));
    ended_ = result == LZMA_STREAM_END;
    return {in.size() - stream_.avail_in, out.size() - stream_.avail_out};
  }
  bool between_members() const override { return ended_; }

 private:
  static constexpr uint64_t kMemory = 128 << 20;
  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<Unpacker> make_unpacker(Packing packing) {
  switch (packing) {
    case Packing::none:
      return nullptr;
    case Packing::gzip:
      return std::make_unique<GzipUnpacker>();
    case Packing::zstd:
      return std::make_unique<ZstdUnpacker>();
    case Packing::xz:
      return std::make_unique<XzUnpacker>();
  }
  ISOFLOP_CHECK(false, "packing {}", static_cast<int>(packing));
}

}  // namespace isoflop
