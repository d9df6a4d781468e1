// Tiles: the text of a corpus in parts that threads work on. What is done with them comes back in
// the order of the text, so results do not depend on the number of threads.
#pragma once
#include "core/threads.hpp"
#include "datasets/text_reader.hpp"

#include <algorithm>
#include <atomic>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

/// Pieces of text, small documents together: about TextReader::kPieceBytes.
struct TextTile {
  struct Part {
    size_t text_end = 0;
    uint64_t document = 0;  // counted from 0 over the whole corpus
    bool first = false;     // of its document
    bool last = false;
    size_t file = 0;
    uint64_t offset = 0;
  };
  std::string text;
  std::vector<Part> parts;

  std::string_view part_text(size_t part) const {
    const size_t begin = part == 0 ? 0 : parts[part - 1].text_end;
    return std::string_view(text).substr(begin, parts[part].text_end - begin);
  }
  /// False when nothing is left. `documents` counts those that ended.
  bool fill(TextReader& reader, uint64_t& documents) {
    text.clear();
    parts.clear();
    for (TextPiece piece; text.size() < TextReader::kPieceBytes && reader.next(piece);) {
      text += piece.text;
      parts.push_back({text.size(), documents, piece.first, piece.last, piece.file, piece.offset});
      documents += piece.last;
    }
    return !parts.empty();
  }
};

/// For every tile of what `reader` reads: work(tile, result) on any thread, then take(tile, result)
/// here, in order. `batch_done` is called between batches. Throws when `stop` is set.
template <class Result, class Work, class Take, class BatchDone>
void for_each_tile(TextReader& reader,
                   ThreadTeam& team,
                   const std::atomic<bool>* stop,
                   Work&& work,
                   Take&& take,
                   BatchDone&& batch_done) {
  // Several tiles per thread, so that none waits long for the slowest.
  const auto count = static_cast<size_t>(std::max(32, 8 * team.size()));
  std::vector<TextTile> tiles(count);
  std::vector<Result> results(count);
  uint64_t documents = 0;
  for (bool more = true; more;) {
    throw_if_stopped(stop);
    size_t filled = 0;
    while (filled < count && (more = tiles[filled].fill(reader, documents))) ++filled;
    team.run(static_cast<int64_t>(filled), [&](int64_t tile, int) {
      throw_if_stopped(stop);
      work(tiles[static_cast<size_t>(tile)], results[static_cast<size_t>(tile)]);
    });
    for (size_t i = 0; i < filled; ++i) take(tiles[i], results[i]);
    batch_done();
  }
}

}  // namespace isoflop
