#include "export/tokenizer_check.hpp"

#include "core/error.hpp"
#include "core/utf8.hpp"
#include "datasets/tokenizer/normalizer.hpp"

#include <optional>

namespace isoflop {

namespace {

constexpr int32_t kMostSpecials = 64;  // of a vocabulary that may have thousands

std::vector<std::string> awkward_texts(const Tokenizer& tokenizer) {
  using namespace std::string_literals;
  std::vector<std::string> texts = {
      "", " ", "  ", "   ", "\t", "\n", "\n\n\n", "\r\n", " \n \n", "\t \t\n", "\v\f",
      // Words and where white space may stand around them.
      "Hello", " Hello", "  Hello", "Hello  world", "Hello world ", "Hello\nworld\n", "a\tb",
      "\n leading", "trailing \n", "HELLO World hELLO", "don't can't we'll I've HE'S O'Neill",
      // Numbers, signs, code.
      "0 1 22 333 4444 55555 666666", "3.14159e-10, 1,000,000; 50%", "x=y+z*(a-b)/2!=0",
      "\"'`~^_|\\", "for (int i = 0; i < n; ++i) {\n\treturn a[i];\n}", "!!!???...---",
      "http://a.b/c?d=e&f#g",
      // Scripts, with and without spaces between words.
      "café naïve Ærø straße", "Привет, мир", "Γειά σου", "你好，世界", "こんにちは世界",
      "안녕하세요", "مرحبا بالعالم", "שלום עולם", "नमस्ते दुनिया", "สวัสดีชาวโลก", "١٢٣ ½ Ⅷ ²",
      // Characters of several code points, and ones that look alike.
      "e\u0301 \u00e9", "👍🏽 👨‍👩‍👧‍👦 🇫🇷", "\u1e9b\u0323 \ufb01",
      "a\u200bb\u200dc\ufeffd", "\u202eabc\u202c",
      // White space that is not ASCII.
      "a\u00a0b", "a\u2003b\u3000c", "a\u2028b\u2029c\u0085d",
      // Bytes that are no UTF-8: alone, cut off, too long, surrogates, beyond the last character.
      "\x80"s,
      "abc\xff"
      "def"s,
      "\xc3"s, "\xe2\x82"s, "\xf0\x9f\x98"s, "\xc0\xaf"s, "\xed\xa0\x80"s, "\xf4\x90\x80\x80"s,
      "\xfe\xfe\xff\xff"s, "a\0b"s, "\x01\x02\x7f"s, std::string(300, 'a'),
      std::string(200, ' ') + "x", "ab" + std::string(100, '\n') + "cd"};
  int32_t specials = 0;
  for (int32_t id = 0; id < tokenizer.vocabulary() && specials < kMostSpecials; ++id) {
    if (!tokenizer.is_special(id)) continue;
    ++specials;
    const std::string token = tokenizer.token_text(id);
    texts.push_back(token);
    texts.push_back("a" + token + " b " + token + token + "\n");
  }
  return texts;
}

struct Encoding {
  std::optional<std::vector<int32_t>> ids;  // none: refused
  std::string text;                         // what they stand for
  bool operator==(const Encoding&) const = default;
};

Encoding encoding_of(const Tokenizer& tokenizer, const std::string& text, bool special) {
  std::vector<int32_t> ids;
  try {
    tokenizer.encode(text, ids, special);
  } catch (const UserError&) {
    return {};
  }
  std::string decoded = tokenizer.decode(ids);
  return {std::move(ids), std::move(decoded)};
}

}  // namespace

TokenizerCheck compare_tokenizers(const Tokenizer& reference, const Tokenizer& other) {
  TokenizerCheck check;
  if (reference.rules().normalizer == "NFC" && other.rules().normalizer.empty()) check.form = "NFC";
  for (std::string text : awkward_texts(reference)) {
    ++check.texts;
    if (!check.form.empty()) text = to_nfc(text);
    for (const bool special : {false, true}) {
      if (encoding_of(reference, text, special) == encoding_of(other, text, special)) continue;
      check.different.push_back(in_quotes(text));
      break;
    }
  }
  return check;
}

}  // namespace isoflop
