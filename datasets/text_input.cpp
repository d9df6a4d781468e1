#include "datasets/text_input.hpp"

#include "core/error.hpp"

namespace isoflop {

namespace {
constexpr size_t kPackedBytes = 256 << 10;  // read from a packed file at once
}

TextInput::TextInput(const TextFile& file)
    : name_(file.name), file_(file.open()), unpacker_(make_unpacker(file.packing)) {
  if (unpacker_) packed_.resize(kPackedBytes);
}

size_t TextInput::read_file(std::span<char> out) {
  const size_t got = file_->read(file_bytes_, out);
  hasher_.update(out.data(), got);
  file_bytes_ += got;
  return got;
}

size_t TextInput::read(std::span<char> out) {
  if (!unpacker_) return read_file(out);
  size_t done = 0;
  while (done < out.size()) {
    if (begin_ == end_ && !file_ended_) {
      begin_ = 0;
      end_ = read_file(packed_);
      file_ended_ = end_ < packed_.size();
    }
    Unpacker::Step step;
    try {
      step = unpacker_->step(std::span(packed_).subspan(begin_, end_ - begin_), out.subspan(done));
    } catch (const UserError& error) {
      fail_format("{}: {}, near byte {} of the file; pack or copy it again", name_, error.what(),
                  file_bytes_ - (end_ - begin_));
    }
    begin_ += step.consumed;
    done += step.produced;
    if (step.consumed > 0 || step.produced > 0) continue;
    if (begin_ == end_ && unpacker_->between_members()) break;
    fail_format("{} is cut off or damaged: its packed data stop at byte {}; copy it again", name_,
                file_bytes_ - (end_ - begin_));
  }
  return done;
}

}  // namespace isoflop
