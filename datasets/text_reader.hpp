// TextReader: the documents of a corpus, in order, with bounded memory.
//
// A document ends at a line that is exactly <|endoftext|> (the line belongs to no document) and at
// the end of a file. Documents of nothing but blanks are left out; a UTF-8 byte order mark at the
// start of a file too. All other bytes are handed on as they are. In a file of JSON lines every
// line is a document, whatever its text holds.
//
// A document longer than kPieceBytes comes in pieces that may be tokenized one by one: the cut is
// where every tokenizer we have starts a new word anyway (before a single space and a letter, or
// after a single line end), so the ids are those of the whole. Only a document with no such place
// within kLongestPiece is cut between two characters there. Cuts depend on the content alone.
#pragma once
#include "datasets/corpus.hpp"
#include "datasets/json_lines.hpp"
#include "datasets/text_input.hpp"
#include "datasets/token_store.hpp"

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop {

struct TextPiece {
  std::string_view text;  // valid until the next call; empty only for the end of a long document
  bool first = true;      // of its document
  bool last = true;       // of its document
  size_t file = 0;        // index into the corpus
  uint64_t offset = 0;    // of the text, or of its JSON line, in the (unpacked) file
};

class TextReader {
 public:
  static constexpr size_t kPieceBytes = 256 << 10;
  static constexpr size_t kLongestPiece = 4 << 20;

  /// `cuts`, when given, has one offset per file at which a document ends as if by a separator (but
  /// for JSON lines, which stay whole). The corpus must outlive the reader.
  explicit TextReader(const Corpus& corpus, std::vector<uint64_t> cuts = {});
  explicit TextReader(Corpus&&, std::vector<uint64_t> = {}) = delete;

  /// False at the end. UserError for binary data (a zero byte), for a file that changed its length,
  /// and for what TextInput and JsonLines refuse.
  bool next(TextPiece& piece);
  /// Of the files, packed as they are: Corpus::bytes() at the end.
  uint64_t bytes_read() const { return bytes_closed_ + (input_ ? input_->file_bytes() : 0); }
  /// Name, size and hash of each file read to its end so far.
  const std::vector<TokenSource>& sources() const { return sources_; }

 private:
  struct Break {
    size_t length = 0;  // of the text before it
    size_t skip = 0;    // bytes of the separator line
    bool ends_document = true;
  };
  bool open_next();
  bool next_line();
  void close_file();
  void fill(size_t wanted);
  Break find_break();
  std::string_view unread() const { return std::string_view(buffer_).substr(begin_); }

  const Corpus& corpus_;
  std::vector<uint64_t> cuts_;
  std::vector<TokenSource> sources_;
  uint64_t bytes_closed_ = 0;  // of the files that were read to their ends

  size_t next_file_ = 0;
  std::unique_ptr<TextInput> input_;  // null between files
  std::unique_ptr<JsonLines> lines_;  // null for plain text
  uint64_t text_bytes_ = 0;           // of the file's text, read so far
  std::string buffer_;                // of JSON lines: the text of one
  size_t begin_ = 0;                  // first byte of the buffer that was not handed out
  uint64_t offset_ = 0;               // of that byte in the text, or of the JSON line
  bool text_ended_ = false;           // the buffer holds all that is left, of the file or the line
  bool in_document_ = false;
  bool at_line_start_ = true;
};

/// Calls `work` with every document, in order; one longer than kPieceBytes comes in several calls,
/// cut between words. For training a tokenizer.
void for_each_document(const Corpus& corpus, const std::function<void(std::string_view)>& work);
void for_each_document(const std::vector<std::string>& inputs,
                       const std::function<void(std::string_view)>& work);

/// Where the last `fraction` of a file's text starts: at the start of a line if there is one
/// nearby, else before a word, else between characters. The text's size when nothing is left to
/// cut; always at the start of a line for JSON lines. Offsets are those of the unpacked text, so a
/// packed file is unpacked three times over.
uint64_t tail_cut(const TextFile& file, double fraction);

}  // namespace isoflop
