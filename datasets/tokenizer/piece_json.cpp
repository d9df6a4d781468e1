#include "datasets/tokenizer/piece_json.hpp"

#include "datasets/tokenizer/json_output.hpp"

#include <fmt/core.h>

namespace isoflop {

using nlohmann::json;

namespace {

constexpr std::pair<TokenType, const char*> kTypes[] = {
    {TokenType::normal, "n"}, {TokenType::unknown, "?"}, {TokenType::control, "c"},
    {TokenType::user, "u"},   {TokenType::unused, "-"},  {TokenType::byte, "b"}};

std::string letters(const PieceModel& model) {
  std::string text;
  for (const PieceModel::Piece& piece : model.pieces)
    for (const auto& [type, letter] : kTypes)
      if (piece.type == type) text += letter;
  return text;
}

std::string normalizer(const PieceModel& model) {
  std::string steps;
  const auto add = [&](const std::string& step) { steps += (steps.empty() ? "" : ", ") + step; };
  const auto replace = [](const char* kind, const char* what, const char* by) {
    return fmt::format(R"({{"type": "Replace", "pattern": {{"{}": {}}}, "content": {}}})", kind,
                       json_string(what), json_string(by));
  };
  if (model.collapse_spaces) {
    add(replace("Regex", R"(\A +|[ \x{2581}]+\z)", ""));
    add(replace("Regex", " {2,}", " "));
  }
  if (model.space_prefix) add(R"({"type": "Prepend", "prepend": "\u2581"})");
  add(replace("String", " ", "\u2581"));
  return R"({"type": "Sequence", "normalizers": [)" + steps + "]}";
}

std::string decoder(const PieceModel& model) {
  std::string steps = R"({"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, )"
                      R"({"type": "ByteFallback"}, {"type": "Fuse"})";
  if (model.space_prefix) steps += R"(, {"type": "Strip", "content": " ", "start": 1, "stop": 0})";
  return R"({"type": "Sequence", "decoders": [)" + steps + "]}";
}

std::string own_members(const PieceModel& model) {
  const auto flag = [](bool value) { return value ? "true" : "false"; };
  std::string out = "\"pieces\": {\"space_prefix\": ";
  out += flag(model.space_prefix);
  out += std::string(", \"collapse_spaces\": ") + flag(model.collapse_spaces) +
         fmt::format(", \"separator\": {},\n      \"types\": ", model.separator) +
         json_string(letters(model)) + ",\n      \"scores\": [";
  for (size_t id = 0; id < model.pieces.size(); ++id)  // the shortest text that reads the same
    out += fmt::format("{}{}", id ? ", " : "", model.pieces[id].score);
  return out + "]}";
}

}  // namespace

std::string write_piece_json(const PieceModel& model, const std::vector<std::string>& merges) {
  std::vector<std::string> tokens;
  std::vector<AddedToken> added;
  JsonModel json_parts{tokens, merges};
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const PieceModel::Piece& piece = model.pieces[id];
    tokens.push_back(piece.text);
    const bool special = piece.type == TokenType::control || piece.type == TokenType::unknown;
    if (special || piece.type == TokenType::user)
      added.push_back({.id = static_cast<int32_t>(id), .special = special});
    if (piece.type == TokenType::unknown && json_parts.unknown.empty())
      json_parts.unknown = piece.text, json_parts.fuse_unknown = true;
    if (piece.type == TokenType::byte) json_parts.byte_fallback = true;
  }
  json_parts.own = own_members(model);
  return kJsonHead + json_added_tokens(added, tokens) + "  \"normalizer\": " + normalizer(model) +
         ",\n  \"pre_tokenizer\": null,\n  \"post_processor\": null,\n  \"decoder\": " +
         decoder(model) + ",\n" + json_model(json_parts) + "}\n";
}

namespace {

const json& own_of(const JsonInput& in) {
  const json& model = in.member(in.root(), "model");
  static const json none;
  if (!model.is_object()) return none;
  const json& own = in.member(model, "isoflop");
  return own.is_object() ? in.member(own, "pieces") : none;
}

}  // namespace

bool has_pieces(const JsonInput& in) {
  return own_of(in).is_object();
}

std::unique_ptr<Tokenizer> read_piece_json(const JsonInput& in) {
  const std::string field = "model.isoflop.pieces";
  const json& own = own_of(in);
  PieceModel model;
  model.space_prefix = in.flag(own, field, "space_prefix", true);
  model.collapse_spaces = in.flag(own, field, "collapse_spaces", false);
  std::vector<std::string> texts =
      read_vocab(in, in.member(in.root()["model"], "vocab"), "model.vocab", 0)
          .take(in, "model.vocab");
  const json& scores = in.member(own, "scores");
  const std::string& types = in.string(in.member(own, "types"), field + ".types");
  if (!scores.is_array() || scores.size() != texts.size() || types.size() != texts.size())
    in.fail(field, fmt::format("needs {} scores and types", texts.size()));
  for (size_t id = 0; id < texts.size(); ++id) {
    if (!scores[id].is_number())
      in.fail(fmt::format("{}.scores[{}]", field, id), "is not a number");
    PieceModel::Piece& piece = model.pieces.emplace_back();
    piece.text = std::move(texts[id]);
    piece.score = scores[id].get<float>();
    bool known = false;
    for (const auto& [type, letter] : kTypes) {
      if (types[id] != letter[0]) continue;
      piece.type = type;
      known = true;
    }
    if (!known) in.fail(fmt::format("{}.types[{}]", field, id), "is not a type");
  }
  const json& separator = in.member(own, "separator");
  if (separator.is_number_unsigned())
    model.separator = static_cast<int>(in.index(separator, field + ".separator", texts.size()));
  return make_piece_tokenizer(std::move(model), in.origin());
}

}  // namespace isoflop
