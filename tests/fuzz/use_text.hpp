// What is done with a text file that a fuzz target has written: read it twice, cut off its tail.
#pragma once
#include "datasets/text_reader.hpp"
#include "tests/fuzz/fuzz.hpp"

namespace isoflop::fuzz {

inline void use_text(const std::string& path) {
  const Corpus corpus = Corpus::open({path});
  uint64_t bytes = 0, again = 0;
  for_each_document(std::vector{path}, [&](std::string_view text) { bytes += text.size(); });
  const uint64_t cut = tail_cut(corpus.files()[0], 0.3);
  TextReader reader(corpus, {cut});
  bool open = false;
  for (TextPiece piece; reader.next(piece);) {
    if (piece.first == open) found("pieces that do not follow each other");
    open = !piece.last;
    again += piece.text.size();
  }
  if (open) found("a document without an end");
  // A cut may leave a part of blanks, which is passed over.
  if (again > bytes) found("more text with a cut than without");
  if (reader.bytes_read() != corpus.bytes()) found("a file that was not read to its end");
}

}  // namespace isoflop::fuzz
