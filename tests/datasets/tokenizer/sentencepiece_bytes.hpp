// SentencePiece's tokenizer.model, and llama2.c's tokenizer.bin, put together by hand for tests.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace isoflop::test {

struct RawPiece {
  std::string text;
  float score = 0;
  int type = 1;  // 1 normal, 2 unknown, 3 control, 4 user, 5 unused, 6 byte
};

struct RawModel {
  std::vector<RawPiece> pieces;
  int model_type = 2;  // bpe
  bool byte_fallback = false;
  bool spaces_behind_words = false;
  std::string character_map = {};
  bool add_space_prefix = true;
  bool collapse_spaces = true;
  bool escape_spaces = true;
  int eos_id = 2;
};

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

/// Protobuf's wire format.
inline std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes += static_cast<char>(value | 128);
  return bytes + static_cast<char>(value);
}
inline std::string number_field(int field, uint64_t value) {
  return varint(static_cast<uint64_t>(field) << 3) + varint(value);
}
inline std::string bytes_field(int field, const std::string& bytes) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(bytes.size()) + bytes;
}

inline std::string sentencepiece_bytes(const RawModel& model) {
  std::string file;
  for (const RawPiece& piece : model.pieces)
    file += bytes_field(1, bytes_field(1, piece.text) + varint(2 << 3 | 5) + raw(piece.score) +
                               number_field(3, static_cast<uint64_t>(piece.type)));
  file += bytes_field(2, number_field(3, static_cast<uint64_t>(model.model_type)) +
                             number_field(24, model.spaces_behind_words) +
                             number_field(35, model.byte_fallback) +
                             number_field(42, static_cast<uint64_t>(model.eos_id)) +
                             number_field(99, 1));  // one that we do not know
  std::string normalizer = bytes_field(1, "identity");
  if (!model.character_map.empty()) normalizer += bytes_field(2, model.character_map);
  return file + bytes_field(3, normalizer + number_field(3, model.add_space_prefix) +
                                   number_field(4, model.collapse_spaces) +
                                   number_field(5, model.escape_spaces));
}

/// <unk> <s> </s>, then letters and some of their neighbours; scores fall with the ids.
inline std::vector<RawPiece> small_pieces(bool bytes = false) {
  std::vector<RawPiece> pieces = {{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}};
  const char* const digits = "0123456789ABCDEF";
  for (int byte = 0; bytes && byte < 256; ++byte)
    pieces.push_back({std::string("<0x") + digits[byte / 16] + digits[byte % 16] + ">", 0, 6});
  float score = 0;
  for (const char* text : {"ab", "\u2581a", "bc", "abc", "\u2581ab", "\u2581\u2581", "\u2581", "a",
                           "b", "c", "\u00e9"})
    pieces.push_back({text, score--});
  return pieces;
}

inline std::string llama2c_bytes(const std::vector<RawPiece>& pieces) {
  std::string file = raw(int32_t{27});
  for (const RawPiece& piece : pieces)
    file += raw(piece.score) + raw(static_cast<int32_t>(piece.text.size())) + piece.text;
  return file;
}

}  // namespace isoflop::test
