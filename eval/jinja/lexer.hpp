// A template's text as tokens: data between the tags, and what stands in them.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace isoflop::jinja {

struct Token {
  enum class Kind {
    data,
    begin_output,
    end_output,
    begin_block,
    end_block,
    name,
    string,
    integer,
    real,
    symbol,
    end
  };
  Kind kind = Kind::end;
  std::string text;  // data, a name, a string's value, a symbol
  int64_t integer = 0;
  double real = 0;
  int line = 0;
};

/// White space around tags goes as transformers has it: the first line break after a block is
/// removed (trim_blocks), and blanks before a block that opens a line (lstrip_blocks); `-` in a tag
/// removes all, `+` none. One line break at the end of the template goes. FormatError
/// "ORIGIN:LINE: ..." for what is no template.
std::vector<Token> lex(std::string_view text, const std::string& origin);

}  // namespace isoflop::jinja
