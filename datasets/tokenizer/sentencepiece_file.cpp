#include "datasets/tokenizer/sentencepiece_file.hpp"

#include "core/error.hpp"
#include "core/utf8.hpp"
#include "datasets/tokenizer/piece_tokenizer.hpp"
#include "datasets/tokenizer/sentencepiece.pb.h"

#include <algorithm>
#include <iterator>

namespace isoflop {

namespace {

/// Far above any vocabulary; bounds what the parser allocates.
constexpr size_t kLargestFile = 64 << 20;

constexpr TokenType kTypes[] = {TokenType::normal, TokenType::unknown, TokenType::control,
                                TokenType::user,   TokenType::unused,  TokenType::byte};

void require_supported(const sentencepiece::Model& model, const std::string& origin) {
  const char* const kinds[] = {"unigram", "bpe", "word", "char"};
  const int kind = model.trainer().model_type();
  if (kind != 2)
    fail_user("{}: trainer_spec.model_type is {}; only bpe is supported", origin,
              kind >= 1 && kind <= 4 ? kinds[kind - 1] : std::to_string(kind));
  if (model.trainer().spaces_behind_words())
    fail_user("{}: trainer_spec.treat_whitespace_as_suffix is not supported", origin);
  const sentencepiece::Normalizer& normalizer = model.normalizer();
  if (!normalizer.character_map().empty())
    fail_user(
        "{}: normalizer_spec.precompiled_charsmap ({}) is not supported; only the identity is",
        origin, in_quotes(normalizer.name()));
  if (!normalizer.escape_spaces())
    fail_user("{}: normalizer_spec.escape_whitespaces = false is not supported", origin);
  if (!model.denormalizer().character_map().empty())
    fail_user("{}: denormalizer_spec.precompiled_charsmap is not supported", origin);
}

}  // namespace

bool looks_like_sentencepiece(std::string_view file) {
  return file.size() > 4 && file[0] == '\n' && file[1] != '\0' &&
         (file[2] == '\n' || file[3] == '\n');  // field 1 of field 1, behind one or two size bytes
}

std::unique_ptr<Tokenizer> read_sentencepiece(std::string_view file, const std::string& origin) {
  if (file.size() > kLargestFile)
    fail_user("{}: a tokenizer.model of {} bytes is too large; at most {} are taken", origin,
              file.size(), kLargestFile);
  sentencepiece::Model proto;
  if (!proto.ParseFromArray(file.data(), static_cast<int>(file.size())))
    fail_format("{}: not a SentencePiece model, or damaged", origin);
  require_supported(proto, origin);
  PieceModel model;
  model.space_prefix = proto.normalizer().add_space_prefix();
  model.collapse_spaces = proto.normalizer().collapse_spaces();
  bool any_byte = false;
  for (int id = 0; id < proto.pieces_size(); ++id) {
    const sentencepiece::Model::Piece& piece = proto.pieces(id);
    if (piece.type() < 1 || piece.type() > 6)
      fail_format("{}: pieces[{}].type is {}, not one of 1 to 6", origin, id, piece.type());
    const TokenType type = kTypes[piece.type() - 1];
    if (type == TokenType::unused)
      fail_user("{}: pieces[{}] {} is of the type unused, which is not supported", origin, id,
                in_quotes(piece.text()));
    any_byte = any_byte || type == TokenType::byte;
    model.pieces.push_back({piece.text(), piece.score(), type});
  }
  if (any_byte != proto.trainer().byte_fallback())
    fail_user("{}: trainer_spec.byte_fallback is {}, but there are {}byte pieces", origin,
              proto.trainer().byte_fallback(), any_byte ? "" : "no ");
  const int end = proto.trainer().eos_id();
  if (end >= 0 && end < proto.pieces_size() &&
      kTypes[proto.pieces(end).type() - 1] == TokenType::control)
    model.separator = end;
  return make_piece_tokenizer(std::move(model), origin);
}

std::string write_sentencepiece(const Tokenizer& tokenizer) {
  ISOFLOP_CHECK(tokenizer.kind() == Tokenizer::Kind::sentencepiece, "not a tokenizer of pieces");
  const TokenizerRules rules = tokenizer.rules();
  sentencepiece::Model proto;
  for (int32_t id = 0; id < tokenizer.vocabulary(); ++id) {
    sentencepiece::Model::Piece& piece = *proto.add_pieces();
    piece.set_text(tokenizer.token_text(id));
    piece.set_score(tokenizer.score(id));
    const auto type = std::find(std::begin(kTypes), std::end(kTypes), tokenizer.type(id));
    piece.set_type(static_cast<int32_t>(type - std::begin(kTypes)) + 1);
  }
  proto.mutable_trainer()->set_model_type(2);
  proto.mutable_trainer()->set_byte_fallback(rules.byte_fallback);
  proto.mutable_trainer()->set_eos_id(tokenizer.separator());
  proto.mutable_normalizer()->set_name("identity");
  proto.mutable_normalizer()->set_add_space_prefix(rules.space_prefix);
  proto.mutable_normalizer()->set_collapse_spaces(rules.collapse_spaces);
  proto.mutable_normalizer()->set_escape_spaces(true);
  return proto.SerializeAsString();
}

}  // namespace isoflop
