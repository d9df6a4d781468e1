// TextInput: the text of one file from its start to its end, unpacked on the way where the file is
// packed (gzip, zstd, xz; several members or frames in a row count as one text).
//
// Memory stays bounded whatever the file claims: a few hundred KB, and for zstd and xz the window
// that a frame asks for, up to 128 MB; a frame that needs more is refused.
#pragma once
#include "core/hash.hpp"
#include "datasets/corpus.hpp"

#include <memory>
#include <span>
#include <string>
#include <vector>

namespace isoflop {

/// One step of unpacking: as much of `in` as is useful becomes the front of `out`.
class Unpacker {
 public:
  struct Step {
    size_t consumed = 0;  // of in
    size_t produced = 0;  // of out
  };
  virtual ~Unpacker() = default;
  /// UserError text when the data is damaged; without place, which the caller adds.
  virtual Step step(std::span<const char> in, std::span<char> out) = 0;
  /// Whether the text may end here.
  virtual bool between_members() const = 0;
};
/// Null for Packing::none.
std::unique_ptr<Unpacker> make_unpacker(Packing packing);

class TextInput {
 public:
  explicit TextInput(const TextFile& file);

  /// Fills `out`; fewer bytes only at the end of the text. UserError when the file cannot be read,
  /// FormatError naming the place in the file when it is damaged or cut off.
  size_t read(std::span<char> out);
  /// Of the file, packed as it is: how many bytes were read so far, and their hash.
  uint64_t file_bytes() const { return file_bytes_; }
  uint64_t unpacked_bytes() const { return file_bytes_ - (end_ - begin_); }  // of those
  uint64_t file_hash() const { return hasher_.digest(); }

 private:
  size_t read_file(std::span<char> out);

  std::string name_;
  std::shared_ptr<const OpenText> file_;
  std::unique_ptr<Unpacker> unpacker_;  // null: the file is the text
  Hasher hasher_;
  uint64_t file_bytes_ = 0;
  std::vector<char> packed_;  // read and not yet unpacked: [begin_, end_)
  size_t begin_ = 0, end_ = 0;
  bool file_ended_ = false;
};

}  // namespace isoflop
