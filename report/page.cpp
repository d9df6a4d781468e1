#include "report/page.hpp"

#include "core/utf8.hpp"

#include <fmt/format.h>

namespace isoflop {

namespace {

constexpr std::string_view kStyle = R"(
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #5b6570; --paper: #ffffff; --line: #e2e6ea;
  --c0: #1f6feb; --c1: #d1570a; --c2: #1a7f37; --c3: #8250df; --c4: #bf3989; --c5: #57606a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --soft: #9aa5b1; --paper: #14171a; --line: #2b3036;
    --c0: #6cb0ff; --c1: #ffa657; --c2: #56d364; --c3: #bc8cff; --c4: #ff7bc0; --c5: #9aa5b1; } }
body { margin: 2rem auto; max-width: 64rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
table { border-collapse: collapse; } td, th { padding: .15rem .9rem .15rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; } th { color: var(--soft); font-weight: normal; }
pre { overflow-x: auto; padding: .6rem; border: 1px solid var(--line); font-size: 13px; white-space: pre-wrap; }
summary { cursor: pointer; color: var(--soft); }
figure { margin: 1rem 0; } figure > svg { overflow: visible; } svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
.grid { stroke: var(--line); } svg .tick, svg .label { fill: var(--soft); font-size: 11px; } svg .title { font-size: 13px; }
.line { fill: none; stroke-width: 1.6; } .dashed { stroke-dasharray: 5 4; }
.bar { stroke-width: 7; opacity: .4; } .band { opacity: .18; stroke: none; }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); } .c3 { --c: var(--c3); } .c4 { --c: var(--c4); }
.c5 { --c: var(--c5); } .line { stroke: var(--c); } .band, .dot, svg .legend { fill: var(--c); }
)";

}  // namespace

std::string escaped(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const int bytes = first_code_point(text.substr(at)).bytes;
    const std::string_view character = text.substr(at, bytes ? static_cast<size_t>(bytes) : 1);
    at += character.size();
    const auto byte = static_cast<unsigned char>(character[0]);
    if (bytes == 0 || (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f)
      out += "\uFFFD";
    else if (byte == '&')
      out += "&amp;";
    else if (byte == '<')
      out += "&lt;";
    else if (byte == '>')
      out += "&gt;";
    else if (byte == '"')
      out += "&quot;";
    else if (byte == '\'')
      out += "&#39;";
    else
      out += character;
  }
  return out;
}

Page::Page(std::string_view title) {
  body_ = fmt::format(
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n"
      "<title>{0}</title><style>{1}</style></head><body>\n<h1>{0}</h1>\n",
      escaped(title), kStyle);
}

void Page::section(std::string_view heading) {
  body_ += fmt::format("<h2>{}</h2>\n", escaped(heading));
}

void Page::paragraph(std::string_view text) {
  body_ += fmt::format("<p>{}</p>\n", escaped(text));
}

void Page::figure(std::string_view svg) {
  if (!svg.empty()) body_ += fmt::format("<figure>{}</figure>\n", svg);
}

void Page::table(const std::vector<std::vector<std::string>>& rows) {
  body_ += "<table>\n";
  for (size_t r = 0; r < rows.size(); ++r) {
    body_ += "<tr>";
    for (const std::string& cell : rows[r])
      body_ += fmt::format("<{0}>{1}</{0}>", r == 0 ? "th" : "td", escaped(cell));
    body_ += "</tr>\n";
  }
  body_ += "</table>\n";
}

void Page::preformatted(std::string_view text) {
  body_ += fmt::format("<pre>{}</pre>\n", escaped(text));
}

void Page::folded(std::string_view summary, std::string_view text) {
  body_ += fmt::format("<details><summary>{}</summary><pre>{}</pre></details>\n", escaped(summary),
                       escaped(text));
}

std::string Page::text() const {
  return body_ + "</body></html>\n";
}

}  // namespace isoflop
